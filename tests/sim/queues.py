"""Workloads on several servers, for tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lapsd import Capacity
from lapsd.policies import Policy, PolicyContext
from lapsd.policies.routers import Router, RouterContext
from lapsd.policies.routers.spec import parse_router
from lapsd.sim.engine.routing import Routing
from lapsd.sim.engine.run_record import Run
from lapsd.sim.engine.service_setup import ServerSetup
from lapsd.sim.engine.service_simulation import simulate_service
from lapsd.traces import Profile, Workload, price, trace_from_rounds
from tests.builders import row

FREE_SWITCHES = Capacity(kv_slots="unlimited")
UNIT_NS = 1_000
UNITS = Profile.constant(draft_ms=UNIT_NS / 1e6, verify_ms=UNIT_NS / 1e6)
"""A round of n draft tokens takes 1 + n units."""


def units_workload(
    rounds: dict[int, Sequence[int]], sizes: NDArray[np.int64], arrival_ns: NDArray[np.int64]
) -> Workload:
    """Return a workload whose requests have known sizes, in units.

    Parameters
    ----------
    rounds : the length of each round in units, by size.
    """
    grid, rows = np.unique(sizes, return_inverse=True)
    trace = trace_from_rounds(
        [
            row(str(k), 1, [0] * len(rounds[k])) | {"drafted": [n - 1 for n in rounds[k]]}
            for k in grid.tolist()
        ]
    )
    return Workload(price(trace, UNITS), rows, arrival_ns, trace.output_tokens[rows])


def past_of(sizes_ns: Sequence[int], token_ns: int) -> PolicyContext:
    """Return what servers and the router know of sizes of past requests."""
    known = sorted(sizes_ns)
    return PolicyContext(token_ns, known, routing=RouterContext(1, known, token_ns))


def serve(
    work: Workload,
    servers: int,
    policy: Policy,
    router: str | Router | None,
    *,
    past: PolicyContext | None = None,
    capacity: Capacity = FREE_SWITCHES,
    guardrails: float | None = None,
    load: float | None = None,
    engine: str = "auto",
) -> Run:
    """Return a run on equal servers; without a router they take from one queue."""
    setup = ServerSetup(work, past or past_of([1], 1), capacity)
    if router is None:
        routing = Routing(central=True)
    else:
        chosen = parse_router(router) if isinstance(router, str) else router
        routing = Routing(chosen, guardrails=guardrails, load=load)
    return simulate_service([setup] * servers, policy, routing, engine=engine)


def poisson(
    rng: np.random.Generator, *, requests: int, servers: int, load: float, mean: float | None = 1e3
) -> Workload:
    """Return a workload with Poisson arrivals, and sizes of one round.

    Parameters
    ----------
    load : of each server.
    mean : of exponential sizes in units, which are rounded up; None: all take one unit.
    """
    sizes = np.ones(requests, dtype=np.int64)
    if mean is not None:
        sizes = np.ceil(rng.exponential(mean, requests)).astype(np.int64)
    mean_ns = UNIT_NS * (mean or 1)
    gaps_ns = rng.exponential(mean_ns / (load * servers), requests)
    arrival_ns = np.rint(np.cumsum(gaps_ns)).astype(np.int64)
    return units_workload({k: [k] for k in np.unique(sizes).tolist()}, sizes, arrival_ns)
