"""Draft policies as text: parse `goodput:most=5`, and write it."""

from lapsd.policies.drafts.base import DraftPolicy
from lapsd.policies.drafts.ema import Ema
from lapsd.policies.drafts.fixed import Fixed, Off
from lapsd.policies.drafts.goodput import Gated, Goodput
from lapsd.policies.drafts.pass_by_pass import PassByPass
from lapsd.policies.drafts.priced import Priced
from lapsd.policies.drafts.survival import Oracle, Survival
from lapsd.policies.drafts.table import Table
from lapsd.policies.named import parse_named, text_of

_KNOWN: tuple[type[DraftPolicy], ...] = (
    Off,
    Fixed,
    Table,
    Ema,
    Goodput,
    Gated,
    Survival,
    Priced,
    PassByPass,
    Oracle,
)
DRAFT_POLICIES: dict[str, type[DraftPolicy]] = {kind.name: kind for kind in _KNOWN}


def parse_draft_policy(spec: str) -> DraftPolicy:
    """Return the draft policy that `name` or `name:parameter=value,...` describes.

    Raises
    ------
    ValueError
        As `named.parse_named`.
    """
    made: DraftPolicy = parse_named("draft policy", spec, DRAFT_POLICIES, DraftPolicy)
    return made


def draft_spec_of(policy: DraftPolicy) -> str:
    """Return the shortest text that `parse_draft_policy` turns into the draft policy again."""
    return text_of(policy)
