"""Draft policies as text: parse `goodput:most=5`, and write it."""

from dataclasses import MISSING

from lapsd.policies.calls import raised
from lapsd.policies.contract import parameters_of
from lapsd.policies.drafts.base import DraftPolicy
from lapsd.policies.drafts.ema import Ema
from lapsd.policies.drafts.fixed import Fixed, Off
from lapsd.policies.drafts.goodput import Gated, Goodput
from lapsd.policies.drafts.pass_by_pass import PassByPass
from lapsd.policies.drafts.priced import Priced
from lapsd.policies.drafts.survival import Oracle, Survival
from lapsd.policies.drafts.table import Table
from lapsd.policies.own import class_named
from lapsd.policies.text_values import parse_parameters, text_from_value

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


def draft_policy_class(name: str) -> type[DraftPolicy]:
    """Return the class of a draft policy by its name, or by `module.Class` for a user's own.

    Raises
    ------
    ValueError
        If there is no such policy, its module cannot be imported, or its class is not as a draft
        policy must be.
    """
    if name in DRAFT_POLICIES:
        return DRAFT_POLICIES[name]
    if "." not in name or not all(name.split(".")):
        raise ValueError(
            f"unknown draft policy {name!r}: known are {', '.join(DRAFT_POLICIES)}, or your own as"
            " module.Class"
        )
    made: type[DraftPolicy] = class_named(name, DraftPolicy, "draft policy")
    if DRAFT_POLICIES.get(made.name, made) is not made:
        raise ValueError(
            f"draft policy {made.__qualname__}: is called {made.name!r}, as a bundled one: give the"
            " class another name"
        )
    return made


def parse_draft_policy(spec: str) -> DraftPolicy:
    """Return the draft policy that `name` or `name:parameter=value,...` describes.

    Raises
    ------
    ValueError
        For an unknown name or parameter, listing the known ones, or a value out of bounds.
    """
    name, colon, rest = spec.partition(":")
    made = draft_policy_class(name)
    values = parse_parameters("draft policy", name, parameters_of(made), rest if colon else None)
    try:
        return made(**values)
    except BaseException as error:
        if DRAFT_POLICIES.get(name) is made:
            raise  # its errors say all of it
        raise raised(made, "__init__", error) from error


def draft_spec_of(policy: DraftPolicy) -> str:
    """Return the shortest text that `parse_draft_policy` turns into the policy again."""
    changed = [
        f"{f.name}={text_from_value(getattr(policy, f.name))}"
        for f in parameters_of(policy)
        if f.default is MISSING or getattr(policy, f.name) != f.default
    ]
    name = policy.name
    return f"{name}:{','.join(changed)}" if changed else name
