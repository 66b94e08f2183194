"""Routers as text: parse `jsq:d=2`, and write it."""

from dataclasses import MISSING

from lapsd.policies.calls import raised
from lapsd.policies.contract import parameters_of
from lapsd.policies.own import class_named
from lapsd.policies.routers.base import Router
from lapsd.policies.routers.cache_aware import CacheAware
from lapsd.policies.routers.jiq import JIQ
from lapsd.policies.routers.jsq import JSQ
from lapsd.policies.routers.least_work import LeastWork, LeastWorkOracle
from lapsd.policies.routers.random import Random
from lapsd.policies.routers.round_robin import RoundRobin
from lapsd.policies.routers.sita import SITA
from lapsd.policies.routers.vllm_dp import VllmDP
from lapsd.policies.routers.weighted import Weighted
from lapsd.policies.text_values import parse_parameters, text_from_value

_KNOWN: tuple[type[Router], ...] = (
    Random,
    RoundRobin,
    JSQ,
    JIQ,
    LeastWork,
    LeastWorkOracle,
    SITA,
    VllmDP,
    CacheAware,
    Weighted,
)
ROUTERS: dict[str, type[Router]] = {kind.name: kind for kind in _KNOWN}


def router_class(name: str) -> type[Router]:
    """Return the class of a router by its name, or by `module.Class` for a user's own.

    Raises
    ------
    ValueError
        If there is no such router, its module cannot be imported, or its class is not as a router
        must be.
    """
    if name in ROUTERS:
        return ROUTERS[name]
    if "." not in name or not all(name.split(".")):
        raise ValueError(
            f"unknown router {name!r}: known are {', '.join(ROUTERS)}, or your own as module.Class"
        )
    made: type[Router] = class_named(name, Router, "router")
    if ROUTERS.get(made.name, made) is not made:
        raise ValueError(
            f"router {made.__qualname__}: is called {made.name!r}, as a bundled one: give the class"
            " another name"
        )
    return made


def parse_router(spec: str) -> Router:
    """Return the router that `name` or `name:parameter=value,...` describes.

    Raises
    ------
    ValueError
        For an unknown name or parameter, listing the known ones, or a value out of bounds.
    """
    name, colon, rest = spec.partition(":")
    made = router_class(name)
    values = parse_parameters("router", name, parameters_of(made), rest if colon else None)
    try:
        return made(**values)
    except BaseException as error:
        if ROUTERS.get(name) is made:
            raise  # its errors say all of it
        raise raised(made, "__init__", error) from error


def router_spec_of(router: Router) -> str:
    """Return the shortest text that `parse_router` turns into the router again."""
    changed = [
        f"{f.name}={text_from_value(getattr(router, f.name))}"
        for f in parameters_of(router)
        if f.default is MISSING or getattr(router, f.name) != f.default
    ]
    name = router.name
    return f"{name}:{','.join(changed)}" if changed else name
