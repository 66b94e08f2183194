"""Policies by name: `laps-sd:K=4,gamma=8` as text, and back."""

import importlib
import os
import sys
from dataclasses import MISSING, Field, fields
from typing import Any

from lapsd.policies.a_min import AMin
from lapsd.policies.alise import Alise
from lapsd.policies.base import Policy
from lapsd.policies.boost import Boost
from lapsd.policies.fastserve import FastServe
from lapsd.policies.fcfs import FCFS
from lapsd.policies.gittins import Gittins
from lapsd.policies.kernel_gittins import KernelGittins, KernelGittinsOracle
from lapsd.policies.kernel_gittins_online import KernelGittinsOnline
from lapsd.policies.laps_sd import LapsSD
from lapsd.policies.laps_sd_adapted import LapsSDAdapted
from lapsd.policies.las import LAS
from lapsd.policies.las_round import LASRound
from lapsd.policies.lp_sjf import LPSJF
from lapsd.policies.lp_sjf_mean import LPSJFMean
from lapsd.policies.lp_srpt import LPSRPT
from lapsd.policies.round_robin import RoundRobin
from lapsd.policies.srpt import SRPT
from lapsd.policies.tie import TIE

_KNOWN: tuple[type[Policy], ...] = (
    FCFS,
    RoundRobin,
    LAS,
    LASRound,
    Gittins,
    LPSJF,
    LPSRPT,
    AMin,
    TIE,
    Boost,
    LapsSD,
    LapsSDAdapted,
    KernelGittins,
    KernelGittinsOnline,
    KernelGittinsOracle,
    LPSJFMean,
    SRPT,
    FastServe,
    Alise,
)
POLICIES: dict[str, type[Policy]] = {p.name: p for p in _KNOWN}


def parameters_of(policy: Policy | type[Policy]) -> list[Field[Any]]:
    """The fields a user may set, in order; what `bind` fills in is left out."""
    return [f for f in fields(policy) if not f.metadata.get("bound")]


def policy_class(name: str) -> type[Policy]:
    """A policy's class by its name, or, for one of a user's own, by `module.Class`.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name in POLICIES:
        return POLICIES[name]
    module, _, attribute = name.rpartition(".")
    if not module:
        raise ValueError(
            f"unknown policy {name!r}: known are {', '.join(POLICIES)}, or your own as module.Class"
        )
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a console script does not look where it was started
    try:
        named = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ValueError(f"policy {name}: cannot import {module} ({error})") from error
    except AttributeError as error:
        raise ValueError(f"policy {name}: {module} has no {attribute}") from error
    if not (isinstance(named, type) and issubclass(named, Policy)):
        raise ValueError(f"policy {name}: is no subclass of policies.Policy")
    return named


def parse_policy(spec: str) -> Policy:
    """A policy from `name` or `name:parameter=value,...`.

    Raises
    ------
    ValueError
        For an unknown name or parameter (listing the known ones), or a value out of bounds.
    """
    name, _, rest = spec.partition(":")
    made = policy_class(name)
    known = {f.name: f for f in parameters_of(made)}
    values: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, text = part.partition("=")
        if key not in known:
            parameters = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"policy {name} has no parameter {key!r}: {parameters}")
        if key in values:
            raise ValueError(f"policy {name}: parameter {key!r} is given twice")
        values[key] = _value(text, known[key], f"{name}: {part}" if equals else f"{name}: {key}")
    return made(**values)


def _value(text: str, parameter: Field[Any], where: str) -> Any:
    """The text in the type of the parameter's annotation."""
    kind = str(getattr(parameter.type, "__name__", parameter.type))
    if text == "auto" and "None" in kind:
        return None
    if kind == "str":
        return text
    if kind == "bool":
        if text not in ("true", "false"):
            raise ValueError(f"{where}: needs true or false")
        return text == "true"
    try:
        return int(text) if kind.startswith("int") else float(text)
    except ValueError:
        wanted = "an integer" if kind.startswith("int") else "a number"
        raise ValueError(
            f"{where}: needs {wanted}, as in {parameter.name}={parameter.default}"
        ) from None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")


def spec_of(policy: Policy) -> str:
    """The shortest spec that makes the policy again: the name and the parameters that differ from
    the default.
    """
    changed = [
        f"{f.name}={_text(getattr(policy, f.name))}"
        for f in parameters_of(policy)
        if f.default is MISSING or getattr(policy, f.name) != f.default
    ]
    name = policy.name or type(policy).__name__
    return f"{name}:{','.join(changed)}" if changed else name
