"""Acceptance traces, cost profiles, their files, importers of public formats, and workloads."""

from lapsd.traces.arrival_trace import ArrivalTrace
from lapsd.traces.costs import Costs, Linear, RoundCost, RoundTerms, StepCost, StepTerms, Swap
from lapsd.traces.derived.acceptance_fit import fit_acceptance
from lapsd.traces.derived.acceptance_model import AcceptanceModel
from lapsd.traces.derived.borrow import borrow_acceptance
from lapsd.traces.derived.confidence import Reliability, reliability
from lapsd.traces.derived.describe import describe
from lapsd.traces.derived.draft_history import acceptance_by_confidence, acceptance_by_place
from lapsd.traces.derived.generate import generate
from lapsd.traces.derived.mix import is_mix, mix, shares_of
from lapsd.traces.derived.ordinary import ordinary_decoding
from lapsd.traces.derived.replay import accepted_runs, at_draft_length
from lapsd.traces.derived.shuffle import shuffled
from lapsd.traces.derived.speculation import speculation_pays
from lapsd.traces.errors import FormatError
from lapsd.traces.files import (
    load_arrivals,
    load_profile,
    load_prompts,
    load_trace,
    save_arrivals,
    save_profile,
    save_prompts,
    save_trace,
)
from lapsd.traces.importers import IMPORTERS, Imported, Importer
from lapsd.traces.invariants import trace_from_rounds
from lapsd.traces.operator_tables import TablesRequest, profile_from_tables
from lapsd.traces.predictors import PREDICTORS, LengthPredictor
from lapsd.traces.prefixes import Prefixes
from lapsd.traces.pricing import PricedTrace, price
from lapsd.traces.profile import Profile
from lapsd.traces.prompts import Prompt
from lapsd.traces.provenance import Provenance
from lapsd.traces.ragged import RaggedRound, ragged_round
from lapsd.traces.trace import LEARNED, Trace, to_frame
from lapsd.traces.workload import Arrivals, Workload, draw_workload

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
    "Prefixes",
    "PricedTrace",
    "Profile",
    "Prompt",
    "Provenance",
    "RaggedRound",
    "Reliability",
    "RoundCost",
    "RoundTerms",
    "StepCost",
    "StepTerms",
    "Swap",
    "TablesRequest",
    "Trace",
    "Workload",
    "acceptance_by_confidence",
    "acceptance_by_place",
    "accepted_runs",
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
    "profile_from_tables",
    "ragged_round",
    "reliability",
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
