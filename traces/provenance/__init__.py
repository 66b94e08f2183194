"""Records in traces and profiles of where numbers come from and how far to trust them."""

from lapsd.traces.provenance.fits import FitError, Fits, GridError, RoundError, SwapFit
from lapsd.traces.provenance.floors import Floors
from lapsd.traces.provenance.operator_tables import KVCapacity, OperatorTables
from lapsd.traces.provenance.origin import (
    GreedyCheck,
    Hardware,
    LearnedLengths,
    LengthErrors,
    Model,
    Provenance,
)
from lapsd.traces.provenance.speculation import DraftLengthRate, Speculation, SpeculationCheck

__all__ = [
    "DraftLengthRate",
    "FitError",
    "Fits",
    "Floors",
    "GreedyCheck",
    "GridError",
    "Hardware",
    "KVCapacity",
    "LearnedLengths",
    "LengthErrors",
    "Model",
    "OperatorTables",
    "Provenance",
    "RoundError",
    "Speculation",
    "SpeculationCheck",
    "SwapFit",
]
