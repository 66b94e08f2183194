"""Generated cases of several servers, and comparisons of the two programs that serve them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lapsd.policies import NEVER, Policy
from lapsd.policies.routers import Router, RouterContext
from lapsd.policies.routers.spec import ROUTERS, parse_router
from lapsd.sim.engine import Run
from lapsd.sim.engine.compiled.policy import NotCompilable
from lapsd.sim.engine.memory import Offload
from lapsd.sim.engine.routing import Routing
from lapsd.sim.engine.run_record import COLUMNS
from lapsd.sim.engine.service_setup import ServerSetup
from lapsd.sim.engine.service_simulation import simulate_service
from lapsd.traces import price
from tests.builders import context
from tests.capacities import EVERY
from tests.sim.drafting import draft_cases
from tests.sim.equivalence import cases
from tests.sim.prefixes import prefix_cases, prefix_draft_cases

ANY_ROUTER = (*ROUTERS, "jsq:d=1", "jsq:d=2", "jsq:d=9", "sticky")
EVERY_PREFILL = ("alone", "batched", "mixed", "chunked")


@dataclass
class Latest:
    """The latest server, and how often it was chosen."""

    server: int = 0
    times: int = 0


@dataclass(frozen=True)
class Sticky(Router):
    """A user's router with a State and random numbers: the latest server a few times, then the one
    with the most free KV memory, or a random one.
    """

    name = "sticky"
    State = Latest
    times: int = 2

    @property
    def draws(self):
        return 2

    def route(self, request, servers, now_ns):
        latest = servers.state
        if latest.times < self.times and servers.allowed[latest.server]:
            latest.times += 1
            return latest.server
        latest.times = 0
        best = request.random[0] % servers.count
        while not servers.allowed[best]:
            best = (best + 1) % servers.count
        if request.random[1] % 2:
            for k in range(servers.count):
                more = servers.kv_tokens[k] < servers.kv_tokens[best]
                if servers.allowed[k] and more:
                    best = k
        latest.server = best
        return best


@st.composite
def routings(
    draw: st.DrawFn, size_ns: int, last_ns: int, routers: tuple[str, ...] = ANY_ROUTER
) -> Routing:
    """Any of the routers with signals of any age, in sizes of a request, up to the last arrival,
    with guardrails or without.
    """
    router = draw(st.sampled_from(routers))
    made = Sticky(draw(st.integers(0, 3))) if router == "sticky" else parse_router(router)
    age = draw(st.sampled_from([None, 0.0, 0.1, 0.7, 5.0]))
    return Routing(
        made,
        signal_age_ms=None if age is None else max(0, min(age * size_ns, last_ns - 1)) / 1e6,
        guardrails=draw(st.sampled_from([None, None, 0.01, 1.0, 4.0])),
        load=draw(st.sampled_from([None, 0.5, 0.95])),
    )


@st.composite
def service_cases(
    draw: st.DrawFn, routers: tuple[str, ...] = ANY_ROUTER
) -> tuple[list[ServerSetup], Policy, Routing]:
    """Servers of one profile or two, with prefix caches or without, a policy with or without a
    draft policy, and a routing.
    """
    work, policy, capacity = draw(
        cases(EVERY, prefills=EVERY_PREFILL) | prefix_cases() | prefix_draft_cases() | draft_cases()
    )
    last_ns = int(work.arrival_ns[-1]) if work.clients is None else NEVER
    routing = draw(routings(int(work.priced.mean_size_ns) + 1, last_ns, routers))
    if policy.drafts is not None and routing.router.clairvoyant:
        routing = replace(routing, router=parse_router("least-work"))
    kinds = [_setup(draw, work, capacity)]
    memory = capacity.memory(work.priced.profile.costs)
    central = not isinstance(memory, Offload) and type(policy).on_event is Policy.on_event
    if central and draw(st.booleans()):
        routing = Routing(central=True)
    elif draw(st.booleans()):
        slower = price(work.priced.trace, work.priced.profile.with_host(0.001))
        kinds.append(_setup(draw, replace(work, priced=slower), capacity))
    return [draw(st.sampled_from(kinds)) for _ in range(draw(st.integers(1, 4)))], policy, routing


def _setup(draw: st.DrawFn, work: Any, capacity: Any) -> ServerSetup:
    """Return a server whose predictions of sizes are any."""
    token_ns = draw(st.integers(0, 10_000))
    sizes = sorted(draw(st.lists(st.integers(0, 100_000), max_size=5)))
    by_batch = tuple(draw(st.lists(st.integers(0, 20_000), max_size=4)))
    routing = RouterContext(1, tuple(sizes), token_ns, (by_batch,))
    past = replace(context(work.priced), routing=routing)
    return ServerSetup(work, past, capacity)


def equal_services(one: Run, other: Run) -> bool:
    """Return whether two runs of several servers are equal to the nanosecond."""
    columns = ("arrival_ns", *COLUMNS, "server")
    return all(np.array_equal(getattr(one, c), getattr(other, c)) for c in columns) and (
        (one.rounds, one.idle_by_server_ns, one.end_ns)
        == (other.rounds, other.idle_by_server_ns, other.end_ns)
    )


def compiled_service_equals_specification(
    setups: list[ServerSetup], policy: Policy, routing: Routing
) -> bool:
    """Return whether the compiled loop gives the same run as the specification, if it compiles."""
    wanted = simulate_service(setups, policy, routing, engine="simpy", check=True)
    try:
        found = simulate_service(setups, policy, routing, engine="compiled")
    except NotCompilable:
        return True
    return equal_services(wanted, found)
