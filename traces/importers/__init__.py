"""Importers of public formats, one module each: a new one is a module and a line in `IMPORTERS`.

`lapsd import NAME` and its options derive from the registry.
"""

from traces.importers.alpaca_eval import AlpacaEval
from traces.importers.azure import Azure
from traces.importers.distserve import DistServe
from traces.importers.importer import Imported, Importer
from traces.importers.mooncake import Mooncake
from traces.importers.sharegpt import ShareGPT
from traces.importers.spec_bench import SpecBench
from traces.importers.specdecode_bench import SpecDecodeBench
from traces.importers.vllm import Vllm

IMPORTERS: dict[str, type[Importer]] = {
    i.name: i for i in (SpecBench, SpecDecodeBench, Vllm, Azure, Mooncake, ShareGPT, AlpacaEval, DistServe)
}

__all__ = [
    "IMPORTERS",
    "AlpacaEval",
    "Azure",
    "DistServe",
    "Imported",
    "Importer",
    "Mooncake",
    "ShareGPT",
    "SpecBench",
    "SpecDecodeBench",
    "Vllm",
]
