"""The experiments of isaacg1/dispatch-sim, and its rules for routers where ours differ.

"Load Balancing Guardrails" (Grosof, Scully, Harchol-Balter, arXiv 1905.03439): Poisson arrivals at
ten servers, each of a tenth of the speed, which serve by SRPT and know sizes. A run goes on until
all requests that arrive in its time are done; requests that are then active count as done.

A size of 1 is a whole number of units and falls on the lower end of a rank of guardrails, as there.
A round takes one unit or more. A request is not preempted within a round, so that a shorter one
waits for the rest of it: half a round on average, if it finds a longer one in service.

* Exponential sizes x have rounds of `ROUND` / (1 − exp(−x)): the rarer shorter requests, the longer
  the rounds. Each arrival then waits for at most about `ROUND` / 2 of ten times its length, less
  than 1 % of a mean response time; `tests.sim.test_dispatch_sim` measures it.
* Of bimodal sizes the short ones take one round, because equal ones never preempt each other, and
  the long ones rounds of a unit, 1 / 20.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lapsd import Capacity
from lapsd.policies import SRPT, PolicyContext
from lapsd.policies.routers import Router, RouterContext
from lapsd.policies.routers.base import nth_allowed
from lapsd.policies.routers.spec import parse_router
from lapsd.sim.engine.guardrails import growth
from lapsd.sim.engine.routing import Routing
from lapsd.sim.engine.service_setup import ServerSetup
from lapsd.sim.engine.service_simulation import simulate_service
from lapsd.traces import Profile, Workload, price, trace_from_rounds
from tests.builders import row

SERVERS = 10
EXPONENTIAL, BIMODAL = "Exp(1.0)", "Bimodal(1.0, 1000.0, 0.9995)"
SHORT, LONG = 0.9995, 1_000  # the share of sizes of 1, and the other size
UNITS = {EXPONENTIAL: 100, BIMODAL: 20}  # of a size of 1
ROUND = {EXPONENTIAL: 0.04, BIMODAL: 0.05}


@dataclass
class Order:
    """The servers by the time of their last request, four bits for each, the first lowest."""

    order: int = 0x9876543210


@dataclass(frozen=True)
class LeastRecent(Router):
    """Round robin there: the allowed server whose last request is the oldest."""

    State: ClassVar[type[Any] | None] = Order

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        order = servers.state.order
        place = 0
        while not servers.allowed[(order >> 4 * place) & 15]:
            place += 1
        chosen: int = (order >> 4 * place) & 15
        lower = order & ((1 << 4 * place) - 1)
        higher = order >> 4 * (place + 1)
        servers.state.order = lower | (higher << 4 * place) | (chosen << 4 * (servers.count - 1))
        return chosen


@dataclass(frozen=True)
class Split(Router):
    """A random server of those for short or for long requests, or the allowed one next to it.

    Parameters
    ----------
    limit_ns : short requests are shorter.
    share : of the servers for short requests.
    """

    draws: ClassVar[int] = 1
    limit_ns: int = 0
    share: float = SHORT / (SHORT + (1 - SHORT) * LONG)

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        place = request.random[0] / 2**62
        if servers.size_ns[0] < self.limit_ns:
            place = self.share * place
        else:
            place = self.share + (1 - self.share) * place
        return nearest(servers, int(place * servers.count))


@dataclass(frozen=True)
class Intervals(Router):
    """SITA there: the server of the request's size, or the allowed one next to it."""

    limits_ns: tuple[int, ...] = ()

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        chosen = 0
        while chosen < len(self.limits_ns) and servers.size_ns[0] >= self.limits_ns[chosen]:
            chosen += 1
        return nearest(servers, chosen)


@dataclass(frozen=True)
class TwoChoices(Router):
    """JSQ_d(2) there: of equal queues the one that was drawn first."""

    draws: ClassVar[int] = 2

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        count = 0
        for k in range(servers.count):
            count += servers.allowed[k]
        first = request.random[0] % count
        one = nth_allowed(servers, first)
        if count == 1:
            return one
        second = request.random[1] % (count - 1)
        other = nth_allowed(servers, second + (second >= first))
        ones = servers.waiting[one] + servers.running[one]
        others = servers.waiting[other] + servers.running[other]
        return one if ones <= others else other


def nearest(servers: Any, preferred: int) -> int:
    """Return the allowed server with the next number, of two the lower one."""
    best = -1
    for k in range(servers.count):
        if servers.allowed[k] and (best < 0 or abs(k - preferred) < abs(best - preferred)):
            best = k
    return best


OURS = {
    "LWL": "least-work-oracle",
    "Random": "random",
    "JSQ": "jsq",
    "RR": "round-robin",
    "JSQ_d(2)": "jsq:d=2",
    "SITA": "sita",
}
LIMITS = (0.531812, 0.824388, 1.09735, 1.37642, 1.67835, 2.02231, 2.43922, 2.99431, 3.88972)


@dataclass(frozen=True)
class Setup:
    """The requests of a run and its servers.

    Attributes
    ----------
    size_ns : of a size of 1.
    end_ns : the end of the time of arrivals; later ones follow, as long as requests are active.
    """

    server: ServerSetup
    size_ns: int
    end_ns: int
    load: float


def unit_ns(sizes: str, load: float) -> int:
    """Return the time of a unit, with which a size of 1 is at the lower end of a rank."""
    c = growth(load)
    return math.ceil(c ** math.ceil(math.log(1e6, c)) / UNITS[sizes])


def rounds_of(sizes: str, size: int, finer: int = 1) -> list[int]:
    """Return the lengths of a request's rounds in units."""
    units = UNITS[sizes]
    if sizes == BIMODAL:
        return [size] if size == units else [1] * size
    found, left = [], size
    while left > 0:
        length = max(1, round(units * ROUND[sizes] / finer / -math.expm1(-left / units)))
        length = left if left < 1.5 * length else length
        found.append(length)
        left -= length
    return found


def setup(sizes: str, load: float, seed: int, time: float, *, finer: int = 1) -> Setup:
    """Return the requests of a run that takes so much time.

    Parameters
    ----------
    finer : divides the rounds of exponential sizes.
    """
    rng = np.random.default_rng([seed, 96, sizes == BIMODAL])
    mean = 1.0 if sizes == EXPONENTIAL else SHORT + (1 - SHORT) * LONG
    count = rng.poisson(load / mean * time * 1.2)
    units, unit = UNITS[sizes], unit_ns(sizes, load)
    if sizes == EXPONENTIAL:
        drawn = np.maximum(1, np.rint(rng.exponential(units, count))).astype(np.int64)
    else:
        drawn = np.where(rng.random(count) < SHORT, units, LONG * units)
    grid, rows = np.unique(drawn, return_inverse=True)
    lengths = [rounds_of(sizes, size, finer) for size in grid.tolist()]
    trace = trace_from_rounds(
        [
            row(str(k), 1, [0] * len(rounds)) | {"drafted": [n - 1 for n in rounds]}
            for k, rounds in enumerate(lengths)
        ]
    )
    priced = price(trace, Profile.constant(unit / 1e6, unit / 1e6))
    scale = units * unit / SERVERS  # ns of a time of 1
    arrival_ns = np.sort(rng.uniform(0, 1.2 * time * scale, count)).astype(np.int64)
    work = Workload(priced, rows, arrival_ns, drawn, seed)
    past = PolicyContext(unit, [1], routing=RouterContext(1, quantiles_ns(units * unit), unit))
    server = ServerSetup(work, past, Capacity(kv_slots="unlimited"))
    return Setup(server, units * unit, round(time * scale), load)


def quantiles_ns(size_ns: int) -> Sequence[int]:
    """Return exponential sizes of past requests, which `sita` learns its intervals from."""
    chances = (np.arange(20_000) + 0.5) / 20_000
    found: list[int] = np.rint(-size_ns * np.log1p(-chances)).astype(np.int64).tolist()
    return found


def their_router(name: str, made: Setup) -> Router:
    """Return a router with the rules of the paper's program."""
    if name == "RR":
        return LeastRecent()
    if name == "JSQ_d(2)":
        return TwoChoices()
    if name == "Split":
        return Split(limit_ns=10 * made.size_ns)
    if name == "SITA":
        return Intervals(tuple(round(limit * made.size_ns) for limit in LIMITS))
    return parse_router(OURS[name])


def mean_response(made: Setup, router: Router, guardrails: float | None) -> float:
    """Return the mean response time of a run, in the paper's units."""
    routing = Routing(router, guardrails=guardrails, load=made.load)
    run = simulate_service([made.server] * SERVERS, SRPT(), routing)
    over_ns = run.finish_ns[run.arrival_ns < made.end_ns].max()
    there: NDArray[np.bool_] = run.arrival_ns <= over_ns
    response_ns = np.minimum(run.finish_ns, over_ns)[there] - run.arrival_ns[there]
    return float(response_ns.mean() / made.size_ns * SERVERS)
