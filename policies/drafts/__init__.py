"""Draft policies, one module each: how many tokens the draft model proposes in the next step."""

from lapsd.policies.drafts.base import DraftContext, DraftPolicy, DraftStep, step_ns
from lapsd.policies.drafts.ema import Ema
from lapsd.policies.drafts.fixed import Fixed, Off
from lapsd.policies.drafts.goodput import Gated, Goodput
from lapsd.policies.drafts.pass_by_pass import PassByPass
from lapsd.policies.drafts.priced import Priced
from lapsd.policies.drafts.survival import Oracle, Survival
from lapsd.policies.drafts.table import Table

__all__ = [
    "DraftContext",
    "DraftPolicy",
    "DraftStep",
    "Ema",
    "Fixed",
    "Gated",
    "Goodput",
    "Off",
    "Oracle",
    "PassByPass",
    "Priced",
    "Survival",
    "Table",
    "step_ns",
]
