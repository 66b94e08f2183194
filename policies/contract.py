"""Checks of the class of a policy: when it is loaded, and before its runs."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from lapsd.policies.base import Policy
from lapsd.policies.seen import ACCEPTED, state_types
from lapsd.policies.text_values import types_of

NAME = re.compile(r"[\w.-]+")


def check_class(kind: type[Policy]) -> None:
    """Check a policy's class.

    Raises
    ------
    ValueError
        If its name cannot be part of results, it defines no rank, its parameters are not fields of
        a frozen dataclass, or its State holds anything but numbers.
    """
    where = f"policy {kind.__name__}"
    if not isinstance(kind.name, str) or not NAME.fullmatch(kind.name):
        raise ValueError(
            f"{where}: name={kind.name!r}: must consist of letters, digits, '.', '-' and '_'"
        )
    if kind.rank is Policy.rank:
        raise ValueError(f"{where}: defines no rank")
    for base in kind.__mro__[: kind.__mro__.index(Policy)]:
        own = vars(base)
        lost = [n for n, t in own.get("__annotations__", {}).items() if "ClassVar" not in str(t)]
        if lost and "__dataclass_params__" not in own:
            raise ValueError(
                f"{where}: {lost[0]} is no parameter: {base.__name__} must be decorated with"
                " @dataclass(frozen=True)"
            )
    check_state(kind)


def check_state(kind: type[Policy]) -> Mapping[str, type]:
    """Return the types of the fields of a policy's State: int, float or bool.

    Raises
    ------
    ValueError
        If the State is not a dataclass whose fields all have defaults of these types.
    """
    if kind.State is None:
        return {}
    try:
        state: Any = kind.State
        found = state_types(state)
    except Exception as error:
        raise ValueError(
            f"policy {kind.name}: State must be a dataclass whose fields have defaults"
        ) from error
    for name, field_type in found.items():
        if field_type not in ACCEPTED:
            raise ValueError(
                f"policy {kind.name}: State.{name} is of type {field_type.__name__}: must be"
                " int, float or bool"
            )
    return found


def parameters_of(policy: Policy | type[Policy]) -> list[Field[Any]]:
    """Return the fields that a user may set, in order, except the fields that `bind` sets."""
    return [f for f in fields(policy) if not f.metadata.get("bound")]


def check_parameters(kind: type[Policy]) -> None:
    """Check that each parameter of a policy can be given as text, and has a default.

    Raises
    ------
    ValueError
        Naming the policy and the parameter.
    """
    for parameter in parameters_of(kind):
        place, default = f"policy {kind.name}: parameter {parameter.name}", parameter.default
        if default is MISSING and parameter.default_factory is MISSING:
            raise ValueError(f"{place}: has no default")
        try:
            types = types_of(parameter.type, place)
        except ValueError as error:
            raise ValueError(
                f"{error}: if it is no parameter, declare it with"
                ' field(..., metadata={"bound": True})'
            ) from error
        taken = {*types, int} if float in types else {*types}
        if default is not MISSING and type(default) not in taken:
            raise ValueError(f"{place}: its default {default!r} is not of type {parameter.type}")
        if not parameter.init:
            raise ValueError(f"{place}: has init=False")
