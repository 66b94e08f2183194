"""The source that a policy's methods reach: the names that they use, and their code.

Only the fields that compiled code can read need a place in a policy's record; and compiled code is
stale once any code that it reaches has changed. Knows nothing of Numba.
"""

import types as python
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np


def members_of(owner: type) -> dict[str, Any]:
    """Return the methods and properties of a class by name, those of its bases included."""
    found: dict[str, Any] = {}
    for kind in reversed(owner.__mro__):
        for name, member in vars(kind).items():
            if not name.startswith("__"):
                found[name] = member
    kinds = python.FunctionType | property
    return {name: member for name, member in found.items() if isinstance(member, kinds)}


def constants_of(owner: type) -> dict[str, Any]:
    """Return the numbers and texts that a class holds itself, such as a `ClassVar`."""
    names = {name for kind in owner.__mro__ for name in vars(kind) if not name.startswith("__")}
    found = {name: getattr(owner, name, None) for name in sorted(names)}
    return {n: value for n, value in found.items() if type(value) in (int, float, bool, str)}


def names_of(code: python.CodeType) -> Iterator[str]:
    """Return the names that a code object uses, those of the functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, python.CodeType):
            yield from names_of(constant)


def functions_reached(owner: type, entries: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the functions that the methods `entries` of a class can call, themselves included."""
    found = _REACHED.get((owner, entries))
    if found is None:
        found = _REACHED[owner, entries] = _functions_reached(owner, entries)
    return found


_REACHED: dict[tuple[type, tuple[str, ...]], tuple[Any, ...]] = {}


def _functions_reached(owner: type, entries: tuple[str, ...]) -> tuple[Any, ...]:
    members = members_of(owner)
    found: list[Any] = []
    seen: set[Any] = set()
    functions = [members[name] for name in entries if name in members]
    while functions:
        member = functions.pop()
        function = member.fget if isinstance(member, property) else member
        if function is None or function in seen:
            continue
        seen.add(function)
        found.append(function)
        for name in names_of(function.__code__):
            named = function.__globals__.get(name)
            named = getattr(named, "py_func", named)  # of a function that a user compiled
            if isinstance(named, python.FunctionType):
                functions.append(named)
            if name in members:
                functions.append(members[name])
    return tuple(found)


def reached_in(owner: type, names: frozenset[str]) -> tuple[Any, ...]:
    """Return the functions that the members of a class with some names can call, themselves
    included.
    """
    return functions_reached(owner, tuple(sorted(names.intersection(members_of(owner)))))


@cache
def names_used(functions: tuple[Any, ...]) -> frozenset[str]:
    """Return all names that some functions use."""
    return frozenset(name for function in functions for name in names_of(function.__code__))


def texts_of(functions: Iterable[Any]) -> list[str]:
    """Return the code of functions, and the values of the globals that they use, as texts that
    are equal if they are.
    """
    texts = []
    for function in functions:
        code, found = function.__code__, function.__globals__
        constants = {
            name: found[name].tobytes() if hasattr(found[name], "tobytes") else repr(found[name])
            for name in sorted(set(names_of(code)))
            if isinstance(found.get(name), int | float | str | tuple | np.ndarray)
        }
        cells = [repr(cell.cell_contents) for cell in function.__closure__ or ()]
        texts.append(f"{function.__qualname__} {_text_of(code)} {constants} {cells}")
        texts.append(f"{function.__defaults__} {function.__kwdefaults__}")
    return sorted(texts)


def _text_of(code: python.CodeType) -> str:
    """Return all of a code object that decides what it does."""
    constants = [_text_of(c) if isinstance(c, python.CodeType) else repr(c) for c in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return f"{code.co_code.hex()} {constants} {names} {code.co_exceptiontable.hex()}"
