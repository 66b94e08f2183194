"""Importers of public formats, one module each: a new one is a module and a line in `IMPORTERS`.

`lapsd import NAME` and its options derive from the registry.
"""

from traces.importers.azure import Azure
from traces.importers.distserve import DistServe
from traces.importers.importer import Imported, Importer
from traces.importers.mooncake import Mooncake
from traces.importers.spec_bench import SpecBench
from traces.importers.specdecode_bench import SpecDecodeBench
from traces.importers.vllm import Vllm

IMPORTERS: dict[str, type[Importer]] = {
    i.name: i for i in (SpecBench, SpecDecodeBench, Vllm, Azure, Mooncake, DistServe)
}

__all__ = [
    "IMPORTERS",
    "Azure",
    "DistServe",
    "Imported",
    "Importer",
    "Mooncake",
    "SpecBench",
    "SpecDecodeBench",
    "Vllm",
]
