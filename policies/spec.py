"""Policies by name: `laps-sd:K=4,gamma=8` as text, and back."""

from dataclasses import MISSING, Field, fields
from typing import Any

from policies.base import Policy
from policies.fcfs import FCFS
from policies.gittins import Gittins
from policies.laps_sd import LapsSD
from policies.las import LAS
from policies.las_round import LASRound
from policies.lp_sjf import LPSJF
from policies.lp_sjf_mean import LPSJFMean
from policies.lp_srpt import LPSRPT
from policies.round_robin import RoundRobin
from policies.srpt import SRPT

POLICIES: dict[str, type[Policy]] = {
    p.name: p for p in (FCFS, RoundRobin, LAS, LASRound, Gittins, LPSJF, LPSRPT, LapsSD, LPSJFMean, SRPT)
}


def parameters_of(policy: Policy | type[Policy]) -> list[Field[Any]]:
    """The fields a user may set, in order; what `bind` fills in is left out."""
    return [f for f in fields(policy) if not f.metadata.get("bound")]


def parse_policy(spec: str) -> Policy:
    """A policy from `name` or `name:parameter=value,...`.

    Raises
    ------
    ValueError
        For an unknown name or parameter (listing the known ones), or a value out of bounds.
    """
    name, _, rest = spec.partition(":")
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}: known are {', '.join(POLICIES)}")
    known = {f.name: f for f in parameters_of(POLICIES[name])}
    values: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, text = part.partition("=")
        if key not in known:
            told = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"policy {name} has no parameter {key!r}: {told}")
        if key in values:
            raise ValueError(f"policy {name}: parameter {key!r} is given twice")
        values[key] = _value(text, known[key], f"{name}: {part}" if equals else f"{name}: {key}")
    return POLICIES[name](**values)


def _value(text: str, parameter: Field[Any], place: str) -> Any:
    """The text in the type of the parameter's annotation."""
    kind = str(getattr(parameter.type, "__name__", parameter.type))
    if text == "auto" and "None" in kind:
        return None
    if kind == "str":
        return text
    if kind == "bool":
        if text not in ("true", "false"):
            raise ValueError(f"{place}: needs true or false")
        return text == "true"
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        wanted = "an integer" if kind == "int" else "a number"
        raise ValueError(f"{place}: needs {wanted}, as in {parameter.name}={parameter.default}") from None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")


def spec_of(policy: Policy) -> str:
    """The shortest spec that makes the policy again: the name and the parameters that differ from the default."""
    changed = [
        f"{f.name}={_text(getattr(policy, f.name))}"
        for f in parameters_of(policy)
        if f.default is MISSING or getattr(policy, f.name) != f.default
    ]
    name = policy.name or type(policy).__name__
    return f"{name}:{','.join(changed)}" if changed else name
