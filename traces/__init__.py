"""Traces of acceptance, profiles of costs: their files, importers of public formats, workloads drawn from them."""

from traces.arrival_trace import ArrivalTrace
from traces.costs import Costs, Linear, RoundCost, RoundTerms, StepCost, StepTerms, Swap
from traces.derived.acceptance_fit import fit_acceptance
from traces.derived.acceptance_model import AcceptanceModel
from traces.derived.borrow import borrow_acceptance
from traces.derived.describe import describe
from traces.derived.generate import generate
from traces.derived.mix import is_mix, mix, shares_of
from traces.derived.ordinary import ordinary_decoding
from traces.derived.replay import at_draft_length
from traces.derived.shuffle import shuffled
from traces.derived.speculation import speculation_pays
from traces.errors import FormatError
from traces.files import (
    load_arrivals,
    load_profile,
    load_prompts,
    load_trace,
    save_arrivals,
    save_profile,
    save_prompts,
    save_trace,
)
from traces.importers import IMPORTERS, Imported, Importer
from traces.invariants import trace_from_rounds
from traces.predictors import PREDICTORS, LengthPredictor
from traces.pricing import PricedTrace, price
from traces.profile import Profile
from traces.prompts import Prompt
from traces.provenance import Provenance
from traces.trace import LEARNED, Trace, to_frame
from traces.workload import Arrivals, Workload, draw_workload

__all__ = [
    "IMPORTERS",
    "LEARNED",
    "PREDICTORS",
    "AcceptanceModel",
    "ArrivalTrace",
    "Arrivals",
    "Costs",
    "FormatError",
    "Imported",
    "Importer",
    "LengthPredictor",
    "Linear",
    "PricedTrace",
    "Profile",
    "Prompt",
    "Provenance",
    "RoundCost",
    "RoundTerms",
    "StepCost",
    "StepTerms",
    "Swap",
    "Trace",
    "Workload",
    "at_draft_length",
    "borrow_acceptance",
    "describe",
    "draw_workload",
    "fit_acceptance",
    "generate",
    "is_mix",
    "load_arrivals",
    "load_profile",
    "load_prompts",
    "load_trace",
    "mix",
    "ordinary_decoding",
    "price",
    "save_arrivals",
    "save_profile",
    "save_prompts",
    "save_trace",
    "shares_of",
    "shuffled",
    "speculation_pays",
    "to_frame",
    "trace_from_rounds",
]
