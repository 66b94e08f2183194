"""Policies as text: parse `laps-sd:K=4,gamma=8`, and write it."""

import importlib
import os
import sys
from dataclasses import MISSING, Field, fields
from importlib.machinery import PathFinder
from types import ModuleType
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
from lapsd.policies.text_values import text_from_value, value_from_text
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

RENAMED = {
    "alike": "kernel-gittins",
    "alike-online": "kernel-gittins-online",
    "alike-ceiling": "kernel-gittins-oracle",
    "stay": "switch_penalty",
    "patience": "age_weight",
}
"""New names of policies and parameters, by their old ones."""


def parameters_of(policy: Policy | type[Policy]) -> list[Field[Any]]:
    """Return the fields that a user may set, in order, except the fields that `bind` sets."""
    return [f for f in fields(policy) if not f.metadata.get("bound")]


def policy_class(name: str) -> type[Policy]:
    """Return the class of a policy by its name, or by `module.Class` for a user's own policy.

    If the module is not installed, it is looked for in the current folder.

    Raises
    ------
    ValueError
        If there is no such policy, or its module cannot be imported.
    """
    if name in POLICIES:
        return POLICIES[name]
    if (new := RENAMED.get(name)) in POLICIES:
        raise ValueError(f"policy {name!r} is now called {new!r}")
    module_name, _, attribute = name.rpartition(".")
    if not all((*module_name.split("."), attribute)):
        raise ValueError(
            f"unknown policy {name!r}: known are {', '.join(POLICIES)}, or your own as module.Class"
        )
    try:
        module = _import(module_name)
    except ImportError as error:
        reason = " ".join(str(error).split())
        if isinstance(error, ModuleNotFoundError) and _is_part_of(error.name, module_name):
            raise ValueError(f"policy {name}: cannot import {module_name} ({reason})") from error
        raise ValueError(f"policy {name}: {module_name} fails to import: {reason}") from error
    try:
        made = getattr(module, attribute)
    except AttributeError as error:
        raise ValueError(f"policy {name}: {module_name} has no {attribute}") from error
    if not (isinstance(made, type) and issubclass(made, Policy)):
        raise ValueError(f"policy {name}: is not a subclass of lapsd.policies.Policy")
    return made


def _is_part_of(missing: str | None, module_name: str) -> bool:
    """Return whether a missing module is the module itself or a package that contains it."""
    return f"{module_name}.".startswith(f"{missing}.")


def _import(module_name: str) -> ModuleType:
    """Import an installed module, or else one in the current folder.

    In the second case the folder stays at the end of `sys.path`: worker processes inherit
    `sys.path`, and import the module again. A console script does not have the folder there.

    Raises
    ------
    ImportError
        If there is no such module, or it raises this error itself.
    """
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package, folder = module_name.partition(".")[0], os.getcwd()
        importlib.invalidate_caches()  # the file may be newer than the cached list of files
        if error.name != package or PathFinder.find_spec(package, [folder]) is None:
            raise
    present = folder in sys.path
    if not present:
        sys.path.append(folder)
    try:
        return importlib.import_module(module_name)
    except BaseException:
        if not present:
            sys.path.remove(folder)
        raise


def parse_policy(spec: str) -> Policy:
    """Return the policy that `name` or `name:parameter=value,...` describes.

    Raises
    ------
    ValueError
        For an unknown name or parameter (listing the known ones), an old name of either (giving the
        new one), or a value out of bounds.
    """
    name, colon, rest = spec.partition(":")
    made = policy_class(name)
    known = {f.name: f for f in parameters_of(made)}
    values: dict[str, Any] = {}
    for part in rest.split(",") if colon else ():
        key, equals, text = part.partition("=")
        if key not in known:
            if (new := RENAMED.get(key)) in known:
                raise ValueError(f"policy {name}: parameter {key!r} is now called {new!r}")
            parameters = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"policy {name} has no parameter {key!r}: {parameters}")
        if key in values:
            raise ValueError(f"policy {name}: parameter {key!r} is given twice")
        values[key] = _value(text, known[key], f"{name}: {part}" if equals else f"{name}: {key}")
    return made(**values)


def _value(text: str, parameter: Field[Any], place: str) -> Any:
    """Return the value of a parameter that a text stands for."""
    default = parameter.default
    has_example = default is not MISSING and not isinstance(default, bool | None)
    example = f"{parameter.name}={text_from_value(default)}" if has_example else ""
    return value_from_text(text, parameter.type, place, example=example)


def spec_of(policy: Policy) -> str:
    """Return the shortest text that `parse_policy` turns into the policy again: its name, and the
    parameters that differ from their defaults.
    """
    changed = [
        f"{f.name}={text_from_value(getattr(policy, f.name))}"
        for f in parameters_of(policy)
        if f.default is MISSING or getattr(policy, f.name) != f.default
    ]
    name = policy.name or type(policy).__name__
    return f"{name}:{','.join(changed)}" if changed else name
