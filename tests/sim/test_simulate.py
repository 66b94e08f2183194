"""The router `simulate`, which simulates each server forward."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lapsd import Capacity
from lapsd.policies import FCFS
from lapsd.policies.routers import Servers
from lapsd.policies.routers.base import COLUMNS
from lapsd.policies.routers.simulate import MOST_NS, Simulate, latency_ns
from lapsd.policies.routers.spec import parse_router
from lapsd.sim.engine.routing import Routing
from lapsd.sim.engine.service_setup import ServerSetup
from lapsd.sim.engine.service_simulation import simulate_service
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import context, row, workload, workloads
from tests.sim.queues import past_of, serve
from tests.sim.servers import compiled_service_equals_specification, service_cases

ENGINES = ("simpy", "compiled")
Active = tuple[int, int, bool]  # tokens left, prefill in ns, whether it runs


def seen(servers: list[list[Active]], slots: int, prefill_ns: int) -> Servers:
    """What a router sees of servers with these active requests."""
    columns = {name: np.zeros(len(servers), dtype=np.int64) for name in COLUMNS}
    columns |= {
        "slots": np.full(len(servers), slots),
        "allowed": np.ones(len(servers), dtype=np.int64),
        "prefill_ns": np.full(len(servers), prefill_ns),
    }
    every = [request for active in servers for request in active]
    return Servers(
        len(servers),
        **columns,
        begin=np.array([0, *np.cumsum([len(active) for active in servers])]),
        active_tokens=np.array([tokens for tokens, _, _ in every], dtype=np.int64),
        active_prefill_ns=np.array([ns for _, ns, _ in every], dtype=np.int64),
        active_runs=np.array([int(runs) for _, _, runs in every], dtype=np.int64),
    )


def by_token(
    active: list[Active], slots: int, own: int, own_prefill_ns: int, more: int, token_ns: list[int]
) -> int:
    """The latency of a request by a simulation that takes one token after the other."""
    left = {n: tokens or more for n, (tokens, _, _) in enumerate(active)}
    left[len(active)] = own
    running = [n for n, (_, _, runs) in enumerate(active) if runs]
    waiting = [n for n in left if n not in running]
    prefills = [ns for _, ns, _ in active] + [own_prefill_ns]
    now_ns = 0
    while len(active) in left:
        while waiting and len(running) < slots:
            now_ns += prefills[waiting[0]]
            running.append(waiting.pop(0))
        now_ns += token_ns[len(running) - 1]
        for n in running:
            left[n] -= 1
            if left[n] == 0:
                del left[n]
        running = [n for n in running if n in left]
    return now_ns


@st.composite
def states(draw):
    """A server with active requests, and a request that arrives."""
    slots = draw(st.integers(1, 4))
    requests = st.tuples(st.integers(0, 12), st.integers(0, 50), st.booleans())
    active = draw(st.lists(requests, max_size=8))
    ran = 0
    for n, (tokens, ns, runs) in enumerate(active):
        ran += runs
        active[n] = tokens, ns, runs and ran <= slots
    times = draw(st.lists(st.integers(0, 9), min_size=slots, max_size=slots))
    return active, slots, draw(st.integers(1, 12)), draw(st.integers(0, 50)), times


@settings(max_examples=500)
@given(state=states(), more=st.integers(1, 5))
def test_the_predicted_latency_is_that_of_a_simulation_by_token(state, more):
    active, slots, own, own_prefill_ns, times = state
    servers = seen([[], active], slots, own_prefill_ns)
    wanted = by_token(active, slots, own, own_prefill_ns, more, times)
    table = np.array([times, times])
    assert latency_ns(servers, 1, own, more, table, MOST_NS) == wanted
    assert latency_ns(servers, 1, own, more, table, wanted) == wanted
    assert latency_ns(servers, 1, own, more, table, wanted // 2) == wanted // 2


@settings(max_examples=200)
@given(service_cases(), st.integers(1, 20))
def test_both_programs_simulate_alike(case, more):
    setups, policy, routing = case
    routing = replace(routing, router=Simulate(more), central=False)
    assert compiled_service_equals_specification(setups, policy, routing)


@pytest.mark.deep
@settings(max_examples=5_000)
@given(service_cases(), st.integers(1, 20))
def test_both_programs_simulate_alike_in_many_cases(case, more):
    setups, policy, routing = case
    routing = replace(routing, router=Simulate(more), central=False)
    assert compiled_service_equals_specification(setups, policy, routing)


@settings(max_examples=60)
@given(
    work=workloads(),
    servers=st.integers(1, 4),
    guardrails=st.sampled_from([None, 1.0]),
    engine=st.sampled_from(ENGINES),
)
def test_with_one_slot_the_least_latency_is_the_least_work(work, servers, guardrails, engine):
    """With known lengths, requests of one server follow each other, so that latencies add up."""
    exact = replace(work, predicted_tokens=work.priced.trace.output_tokens[work.rows])
    past = replace(context(work.priced), routing=past_of([1_000], 7_000).routing)
    shape = {"past": past, "capacity": Capacity(), "guardrails": guardrails, "engine": engine}
    one = serve(exact, servers, FCFS(), "simulate", **shape)
    other = serve(exact, servers, FCFS(), "least-work", **shape)
    assert one.server.tolist() == other.server.tolist()


@dataclass(frozen=True)
class _Asks:
    """What a router reads of a request."""

    predicted_tokens: int


def test_the_least_latency_is_neither_the_fewest_requests_nor_the_least_work():
    """A round takes 10 alone and 12 in a batch of 2; the request has 2 tokens.

    One request of 9 tokens leaves a slot: 2 x 12 = 24. Two of 2 tokens do not: 2 x 12 + 2 x 10.
    """
    router = replace(Simulate(), token_ns=np.array([[10, 12], [10, 12]]))
    short, long = (2, 0, True), (9, 0, True)
    assert router.route(_Asks(2), seen([[short, short], [long]], 2, 0), 0) == 1
    # 9 x 12 + 2 x 10 against 12, then 2 tokens with the waiting one
    waiting = (1, 0, False)
    most = [(1, 0, True), (1, 0, True), waiting]
    assert router.route(_Asks(2), seen([[long, long], most], 2, 0), 0) == 1


@pytest.mark.parametrize(
    ("signal_age_ms", "refused"), [(20.1, True), (20, False), (0, False), (None, False)]
)
def test_signals_older_than_the_run_are_refused(signal_age_ms, refused):
    rows = [row(f"r{i}", 1, [0]) for i in range(2)]
    priced = price(trace_from_rounds(rows), Profile.constant(draft_ms=0, verify_ms=10))
    routing = Routing(parse_router("jsq"), signal_age_ms=signal_age_ms)
    setups = [ServerSetup(workload(priced, [0, 20]), context(priced), Capacity())] * 2
    if refused:
        with pytest.raises(ValueError, match=r"signal_age_ms=20.1: must be at most 20, when"):
            simulate_service(setups, FCFS(), routing)
    else:
        assert simulate_service(setups, FCFS(), routing).server.tolist() == [0, 0]
