"""Checks of the class of a policy: when it is loaded, and before its runs."""

import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, InitVar, fields
from functools import cache
from types import NoneType
from typing import Any

import numpy as np

from lapsd.policies.base import Policy
from lapsd.policies.drafts.base import DraftPolicy
from lapsd.policies.routers.base import Router
from lapsd.policies.seen import ACCEPTED, state_types
from lapsd.policies.text_values import types_of

Own = Policy | DraftPolicy | Router
"""The kinds of classes that users may define."""

Kind = type[Policy] | type[DraftPolicy] | type[Router]
NAME = re.compile(r"[\w.-]+")
BASES: tuple[tuple[type[Any], str, str], ...] = (
    (Policy, "policy", "rank"),
    (DraftPolicy, "draft policy", "choose"),
    (Router, "router", "route"),
)
"""The base classes, what messages call them, and the method that each class defines."""


VALUES: Mapping[type, tuple[type, ...]] = {
    bool: (bool, np.bool_),
    int: (int, np.integer),
    float: (float, int, np.floating, np.integer),
    str: (str,),
    NoneType: (NoneType,),
}
"""The types of the values that a parameter of a type may have."""


def _base_of(kind: Kind) -> tuple[type[Any], str, str]:
    """Return the entry of `BASES` that a class belongs to."""
    return next(entry for entry in BASES if issubclass(kind, entry[0]))


def title_of(kind: Kind) -> str:
    """Return what messages call such a class."""
    return _base_of(kind)[1]


def check_class(kind: Kind) -> None:
    """Check the class of a policy, a draft policy or a router.

    Raises
    ------
    ValueError
        If its name cannot be part of results, it lacks its method (rank, choose or route), its
        parameters are not fields of a frozen dataclass, or its State holds anything but numbers.
    """
    base_class, title, method = _base_of(kind)
    where = f"{title} {kind.__name__}"
    if not isinstance(kind.name, str) or not NAME.fullmatch(kind.name):
        raise ValueError(
            f"{where}: name={kind.name!r}: must consist of letters, digits, '.', '-' and '_'"
        )
    if getattr(kind, method) is getattr(base_class, method):
        raise ValueError(f"{where}: defines no {method}")
    _check_members(kind, base_class, where)
    for base in kind.__mro__[: kind.__mro__.index(base_class)]:
        own = vars(base)
        lost = [n for n, t in own.get("__annotations__", {}).items() if "ClassVar" not in str(t)]
        if lost and "__dataclass_params__" not in own:
            raise ValueError(
                f"{where}: {lost[0]} is no parameter: {base.__name__} must be decorated with"
                " @dataclass(frozen=True)"
            )
    for name, one in getattr(kind, "__dataclass_fields__", {}).items():
        if isinstance(one.type, InitVar) or "InitVar" in str(one.type):
            raise ValueError(
                f"{where}: {name} is an InitVar, which results and copies of a run would lose:"
                " declare a field"
            )
    check_state(kind)


def _check_members(kind: Kind, base_class: type[Any], where: str) -> None:
    """Check what a class defines in the place of members of its base class."""
    for name, member in vars(base_class).items():
        own = getattr(kind, name, None)
        if name.startswith("_") or not inspect.isfunction(member) or own is member:
            continue
        if not callable(own):
            raise ValueError(f"{where}: {name} must be a method, and is {own!r}")
        if inspect.iscoroutinefunction(own) or inspect.isgeneratorfunction(own):
            raise ValueError(f"{where}: {name} must return its result: no async and no yield")
    if issubclass(kind, Policy) and fields(kind)[0] is not fields(base_class)[0]:
        raise ValueError(f"{where}: drafts is the draft policy, and no name of a parameter")


def check_state(kind: Kind) -> Mapping[str, type]:
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
            f"{title_of(kind)} {kind.name}: State must be a dataclass whose fields have defaults"
        ) from error
    if state.__setattr__ is not object.__setattr__:
        raise ValueError(
            f"{title_of(kind)} {kind.name}: State must not be frozen, nor define __setattr__"
        )
    for name, field_type in found.items():
        if field_type not in ACCEPTED:
            raise ValueError(
                f"{title_of(kind)} {kind.name}: State.{name} is of type {field_type.__name__}:"
                " must be int, float or bool"
            )
    return found


def parameters_of(policy: Own | Kind) -> list[Field[Any]]:
    """Return the fields that a user may set, in order, except the fields that `bind` sets.

    Parameters
    ----------
    policy : Own or Kind
        A policy, a draft policy or a router, or its class.

    Examples
    --------
    >>> from lapsd.policies import LAS, parameters_of
    >>> [field.name for field in parameters_of(LAS)]
    ['K', 'M', 'sup_1_s', 'age_s']
    """
    return [f for f in fields(policy) if not f.metadata.get("bound")]


def check_values(own: Own) -> None:
    """Check that the parameters of an object are of the types that its class declares.

    Raises
    ------
    ValueError
        Naming the class, the parameter and its value.
    """
    kind: Any = type(own)
    for name, (types, wanted) in _declared(kind).items():
        value = getattr(own, name)
        if not any(isinstance(value, VALUES[one]) for one in types) or (
            isinstance(value, bool | np.bool_) and bool not in types
        ):
            where = f"{title_of(kind)} {kind.name}"
            raise ValueError(f"{where}: {name}={value!r}: must be of type {wanted}")


@cache
def _declared(kind: Any) -> Mapping[str, tuple[list[type], str]]:
    """Return the types, and their text, of the parameters that can be given as text."""
    known = {}
    for parameter in parameters_of(kind):
        with suppress(ValueError):  # a parameter of another type is for Python only
            text = str(getattr(parameter.type, "__name__", parameter.type))
            known[parameter.name] = types_of(parameter.type, parameter.name), text
    return known


def check_parameters(kind: Kind) -> None:
    """Check that each parameter of a policy can be given as text, and has a default.

    Raises
    ------
    ValueError
        Naming the policy and the parameter.
    """
    for parameter in parameters_of(kind):
        place, default = (
            f"{title_of(kind)} {kind.name}: parameter {parameter.name}",
            parameter.default,
        )
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
