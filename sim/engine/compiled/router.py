"""A router's own method, compiled in the same way as the methods of a `Policy`.

The method `route` reads one record (`flat_service.ROUTE`), as a request and as `Servers`.
"""

import ctypes
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from lapsd.policies.calls import name_of
from lapsd.policies.routers import Router, Servers
from lapsd.policies.routers.base import COLUMNS, OF_ACTIVE
from lapsd.policies.routers.calls import server_of
from lapsd.sim.engine.compiled.bound import Bound
from lapsd.sim.engine.compiled.cache import cache_folder
from lapsd.sim.engine.compiled.call import FUNCTIONS
from lapsd.sim.engine.compiled.draft_policy import state_at
from lapsd.sim.engine.compiled.flat_service import NUMBERS, ROUTE, WORDS
from lapsd.sim.engine.compiled.interpreted import PARAMETERS, new_address
from lapsd.sim.engine.compiled.job import RAISED
from lapsd.sim.engine.compiled.methods import struct_of
from lapsd.sim.engine.compiled.parameters import Layout, layout_of
from lapsd.sim.engine.compiled.policy import (
    NotCompilable,
    compile_method,
    keys_of,
    state_dtype,
    state_struct,
)
from lapsd.sim.engine.compiled.reached import functions_reached, names_used
from lapsd.sim.engine.compiled.structs import RoutedStruct, ServersStruct
from lapsd.sim.engine.service import RoutedRequest

METHODS = ("route",)
OF_REQUEST = ("index", "arrival_ns", "prompt_tokens", "predicted_tokens")


_COMPILED: dict[Layout, tuple[Any, np.dtype[Any]] | str] = {}
"""Compiled methods and dtypes of states by layout, or why a router cannot be compiled."""


def compile_router(router: Router) -> Bound[Router]:
    """Return a router that `bind` returned, with its compiled method.

    Raises
    ------
    NotCompilable
        Naming the router and what prevents its compilation.
    """
    names = names_used(functions_reached(type(router), METHODS))
    layout = layout_of(router, names)
    if layout not in _COMPILED:
        try:
            _COMPILED[layout] = _compile(router, layout)
        except NotCompilable as error:
            _COMPILED[layout] = str(error)
    found = _COMPILED[layout]
    if isinstance(found, str):
        raise NotCompilable(found)
    kept, state = found
    return Bound(router, kept.address, layout, state, kept, names)


def _compile(router: Router, layout: Layout) -> tuple[Any, np.dtype[Any]]:
    """Return the compiled method of a router, and the dtype of its State."""
    state = state_dtype(type(router))
    if numba.config.DISABLE_JIT:
        return SimpleNamespace(address=_interpreted(state)), state
    types_of = struct_of(layout, type(router).__name__, writes=False), servers_struct(state)
    folder = cache_folder(*keys_of(router, METHODS, layout, repr(state), repr(ROUTE)))
    return compile_method(f"router {name_of(router)}", "route", types_of, folder), state


def servers_struct(state: np.dtype[Any]) -> ServersStruct:
    """Return the Numba type of `Servers`."""
    whole = types.Array(types.int64, 1, "C", readonly=True)
    found: dict[str, tuple[int, types.Type]] = {"count": (8 * ROUTE["count"], types.int64)}
    found |= {name: (8 * ROUTE[name], whole) for name in (*COLUMNS, *OF_ACTIVE)}
    refused = {"state": "is not there: the router declares no State"}
    if state.names:
        found["state"] = 8 * ROUTE["state"], state_struct(state, writes=True)
    asked: dict[str, tuple[int, types.Type]] = {
        name: (8 * ROUTE[name], types.int64) for name in OF_REQUEST
    }
    asked["random"] = 8 * ROUTE["random"], whole
    request = RoutedStruct("request", asked)
    return ServersStruct(request, "servers", found, frozenset(), {} if state.names else refused)


def seen_at(address: int, state: Any) -> tuple[RoutedRequest, Servers]:
    """Return the request and the servers whose record is at an address."""
    words = list((ctypes.c_int64 * WORDS).from_address(address))

    def array(name: str) -> NDArray[np.int64]:
        start, size = words[ROUTE[name] : ROUTE[name] + 2]
        if size == 0:
            return np.zeros(0, dtype=np.int64)
        memory: Any = (ctypes.c_int64 * size).from_address(start)
        return np.frombuffer(memory, dtype=np.int64).copy()

    index, arrival_ns, prompt, predicted, count, _ = words[: len(NUMBERS)]
    columns = {name: array(name) for name in (*COLUMNS, *OF_ACTIVE)}
    request = RoutedRequest(index, arrival_ns, prompt, predicted, array("random"))
    return request, Servers(count, **columns, state=state)


def explain_router(bound: Bound[Router], address: int, now_ns: int) -> ValueError:
    """Return the error of `route`, by calling it again in Python, unless it has a State, which it
    has written to.
    """
    request, servers = seen_at(address, None)
    if not bound.state.names:
        try:
            server_of(bound.policy, request, servers, now_ns)
        except ValueError as error:
            return error
    return ValueError(
        f"router {name_of(bound.policy)}: route of request {request.index} at {now_ns} ns raised an"
        " exception or returned what it must not, which engine=simpy names"
    )


def _interpreted(dtype: np.dtype[Any]) -> int:
    """Return the address of a Python function that calls `route`, where nothing is compiled."""

    def route(router: int, record: int, now_ns: int, out: int) -> int:
        owner = PARAMETERS[router].owner
        try:
            at = ctypes.c_int64.from_address(record + 8 * ROUTE["state"]).value
            return server_of(owner, *seen_at(record, state_at(at, dtype)), now_ns)
        except Exception:
            return -RAISED

    address = new_address()
    FUNCTIONS[address] = route
    return address
