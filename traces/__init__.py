"""The two on-disk formats (trace, profile), importers of public formats, and workloads drawn from them."""

from traces.acceptance_model import AcceptanceModel, fit_acceptance, generate
from traces.arrival_trace import ArrivalTrace, load_arrivals, save_arrivals
from traces.errors import FormatError
from traces.pricing import PricedTrace, price
from traces.profile import Costs, Linear, Profile, RoundCost, RoundTerms, Swap, load_profile, save_profile
from traces.replay import at_draft_length
from traces.speculation import speculation_pays
from traces.trace import Trace, to_frame, trace_from_rounds
from traces.trace_file import load_trace, save_trace
from traces.workload import Arrivals, LengthPredictor, Workload, draw_workload

__all__ = [
    "AcceptanceModel",
    "ArrivalTrace",
    "Arrivals",
    "Costs",
    "FormatError",
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
