"""The two on-disk formats (trace, profile), importers of public formats, and workloads drawn from them."""

from traces.acceptance_model import AcceptanceModel, fit_acceptance, generate
from traces.arrival_trace import ArrivalTrace, load_arrivals, save_arrivals
from traces.borrow import borrow_acceptance
from traces.errors import FormatError
from traces.importers import IMPORTERS, Imported, Importer
from traces.predictors import PREDICTORS, LengthPredictor
from traces.priced import PricedTrace, price
from traces.profile import Costs, Linear, Profile, RoundCost, RoundTerms, Swap, load_profile, save_profile
from traces.replay import at_draft_length
from traces.speculation import speculation_pays
from traces.trace import Trace, to_frame, trace_from_rounds
from traces.trace_file import load_trace, save_trace
from traces.workload import Arrivals, Workload, draw_workload

__all__ = [
    "IMPORTERS",
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
    "RoundCost",
    "RoundTerms",
    "Swap",
    "Trace",
    "Workload",
    "at_draft_length",
    "borrow_acceptance",
    "draw_workload",
    "fit_acceptance",
    "generate",
    "load_arrivals",
    "load_profile",
    "load_trace",
    "price",
    "save_arrivals",
    "save_profile",
    "save_trace",
    "speculation_pays",
    "to_frame",
    "trace_from_rounds",
]
