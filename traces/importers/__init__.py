"""Importers of public formats, one module per format.

A new importer needs a module and an entry in `IMPORTERS`; `lapsd import NAME` and its options are
derived from that registry.
"""

from lapsd.traces.importers.alpaca_eval import AlpacaEval
from lapsd.traces.importers.azure import Azure
from lapsd.traces.importers.distserve import DistServe
from lapsd.traces.importers.importer import Imported, Importer
from lapsd.traces.importers.mooncake import Mooncake
from lapsd.traces.importers.sharegpt import ShareGPT
from lapsd.traces.importers.spec_bench import SpecBench
from lapsd.traces.importers.specdecode_bench import SpecDecodeBench
from lapsd.traces.importers.vllm import Vllm

IMPORTERS: dict[str, type[Importer]] = {
    i.name: i
    for i in (SpecBench, SpecDecodeBench, Vllm, Azure, Mooncake, ShareGPT, AlpacaEval, DistServe)
}
"""The importer of each public format by the name that users type: dict of str to type.

Examples
--------
>>> from lapsd.traces import IMPORTERS
>>> sorted(IMPORTERS)[:3]
['alpaca-eval', 'azure', 'distserve']
"""

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
