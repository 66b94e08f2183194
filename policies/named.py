"""Draft policies and routers as text: find a class by its name, make one of it, and write it."""

from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

from lapsd.policies.calls import raised
from lapsd.policies.contract import parameters_of
from lapsd.policies.own import class_named
from lapsd.policies.text_values import parse_parameters, text_from_value


def class_of(title: str, name: str, known: Mapping[str, type[Any]], base: type[Any]) -> Any:
    """Return a class by its name, or by `module.Class` for a user's own.

    Parameters
    ----------
    title : what messages call such a class.
    known : the bundled classes by name.
    base : what a user's own must be a subclass of.

    Raises
    ------
    ValueError
        If there is no such class, its module cannot be imported, or it is not as it must be.
    """
    if name in known:
        return known[name]
    if "." not in name or not all(name.split(".")):
        raise ValueError(
            f"unknown {title} {name!r}: known are {', '.join(known)}, or your own as module.Class"
        )
    made = class_named(name, base, title)
    if known.get(made.name, made) is not made:
        raise ValueError(
            f"{title} {made.__qualname__}: is called {made.name!r}, as a bundled one: give the"
            " class another name"
        )
    return made


def parse_named(title: str, spec: str, known: Mapping[str, type[Any]], base: type[Any]) -> Any:
    """Return what `name` or `name:parameter=value,...` describes.

    Raises
    ------
    ValueError
        For an unknown name or parameter, listing the known ones, or a value out of bounds.
    """
    name, colon, rest = spec.partition(":")
    made = class_of(title, name, known, base)
    values = parse_parameters(title, name, parameters_of(made), rest if colon else None)
    try:
        return made(**values)
    except BaseException as error:
        if known.get(name) is made:
            raise  # its errors say all of it
        raise raised(made, "__init__", error) from error


def text_of(named: Any) -> str:
    """Return the shortest text that `parse_named` turns into an equal object."""
    changed = [
        f"{f.name}={text_from_value(getattr(named, f.name))}"
        for f in parameters_of(named)
        if f.default is MISSING or getattr(named, f.name) != f.default
    ]
    return f"{named.name}:{','.join(changed)}" if changed else str(named.name)
