"""Routers as text: parse `jsq:d=2`, and write it."""

from lapsd.policies.named import parse_named, text_of
from lapsd.policies.routers.base import Router
from lapsd.policies.routers.cache_aware import CacheAware
from lapsd.policies.routers.jiq import JIQ
from lapsd.policies.routers.jsq import JSQ
from lapsd.policies.routers.least_work import LeastWork, LeastWorkOracle
from lapsd.policies.routers.random import Random
from lapsd.policies.routers.round_robin import RoundRobin
from lapsd.policies.routers.simulate import Simulate
from lapsd.policies.routers.sita import SITA
from lapsd.policies.routers.vllm_dp import VllmDP
from lapsd.policies.routers.weighted import Weighted

_KNOWN: tuple[type[Router], ...] = (
    Random,
    RoundRobin,
    JSQ,
    JIQ,
    LeastWork,
    LeastWorkOracle,
    SITA,
    Simulate,
    VllmDP,
    CacheAware,
    Weighted,
)
ROUTERS: dict[str, type[Router]] = {kind.name: kind for kind in _KNOWN}


def parse_router(spec: str) -> Router:
    """Return the router that `name` or `name:parameter=value,...` describes.

    Raises
    ------
    ValueError
        As `named.parse_named`.
    """
    made: Router = parse_named("router", spec, ROUTERS, Router)
    return made


def router_spec_of(router: Router) -> str:
    """Return the shortest text that `parse_router` turns into the router again."""
    return text_of(router)
