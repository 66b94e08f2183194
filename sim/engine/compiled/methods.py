"""The methods of a policy's class, made known to Numba.

A method is compiled as it is written. The functions of a module that it names are compiled with it;
so are the other methods and the properties of its class. Knows nothing of ranks.
"""

import itertools
import types as python
from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

from numba import njit, types
from numba.extending import overload_attribute, overload_method, register_model

from lapsd.sim.engine.compiled.parameters import Column, Layout, Maybe, Number, Text
from lapsd.sim.engine.compiled.pipeline import PolicyCompiler
from lapsd.sim.engine.compiled.reached import members_of, names_of
from lapsd.sim.engine.compiled.structs import SCALARS, AddressModel, Choice, Struct

# An index out of range raises, as in Python. Methods are inlined, so that the numbers of a rank
# stay in registers: returned through memory they take some 4 ns more.
OPTIONS = {"boundscheck": True, "forceinline": True}
METHOD_OPTIONS = {
    **OPTIONS,
    "pipeline_class": PolicyCompiler,
    "no_cpython_wrapper": True,  # no function but the outermost is called from elsewhere
    "no_cfunc_wrapper": True,
}
CODES = {dtype.char: kind for dtype, kind in SCALARS.items()} | {
    "i8": types.int64,
    "f8": types.float64,
}


_numbers = itertools.count()


@cache
def struct_class(owner: type) -> type[Struct]:
    """Return the Numba type of the dataclasses of a class, which knows its methods.

    Its name is its own: Numba takes methods of types of one name for the same, and in a notebook
    several classes have one name.
    """
    made: type[Struct] = type(f"{owner.__qualname__}{next(_numbers)}", (Struct,), {})
    register_model(made)(AddressModel)
    for name, member in members_of(owner).items():
        if isinstance(member, property):
            if member.fget is not None:
                _overload(overload_attribute, made, name, member.fget)
        else:
            _overload(overload_method, made, name, member)
    return made


def _overload(register: Any, made: type[Struct], name: str, function: Any) -> None:
    """Let Numba compile a method or a property where a method calls it."""
    compiled = with_functions(function)

    def implementation(*args: Any, **kwargs: Any) -> Any:
        return compiled

    implementation.__signature__ = signature(compiled)  # type: ignore[attr-defined]
    options = {"jit_options": METHOD_OPTIONS} if register is overload_method else {}
    register(made, name, **options)(implementation)


def with_functions(function: Any) -> Any:
    """Return a function whose global functions are compiled with it, without its annotations."""
    names = set(names_of(function.__code__))
    found = function.__globals__
    compiled = {
        name: _compiled(found[name])
        for name in names
        if isinstance(found.get(name), python.FunctionType)
    }
    made = python.FunctionType(
        function.__code__,
        {**found, **compiled},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


@cache
def _compiled(function: Callable[..., Any]) -> Any:
    """Return a global function as one that Numba compiles when it is first called."""
    return njit(**METHOD_OPTIONS)(with_functions(function))


def struct_of(layout: Layout, title: str, *, writes: bool) -> Struct:
    """Return the Numba type of dataclasses of a layout, whose arrays a method may write to or
    not.
    """
    fields = {name: (offset, _type_of(kind, name, writes)) for name, offset, kind in layout.fields}
    return struct_class(layout.owner)(title, fields, frozenset(), dict(layout.refused))


def _type_of(kind: Any, name: str, writes: bool) -> types.Type:
    """Return the Numba type of a field."""
    if isinstance(kind, Layout):
        return struct_of(kind, name, writes=writes)
    if isinstance(kind, Text):
        return types.none if kind.value is None else Choice(kind.value)
    if isinstance(kind, Column):
        readonly = not (kind.writable and writes)
        return types.Array(CODES[kind.code], kind.dimensions, "C", readonly=readonly)
    assert isinstance(kind, Number | Maybe)
    return types.Optional(CODES[kind.code]) if isinstance(kind, Maybe) else CODES[kind.code]
