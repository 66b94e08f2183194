"""Several servers compared with theory, where theory is exact for every request.

At a batch size of 1 and first come first served, least true work in front of servers with queues of
their own is one queue in front of them (M/G/N): in both a request starts at the server that is free
first. The recursion of Kiefer and Wolfowitz (1955) gives these times, and knows nothing of a
simulator. Once each request's server is known, servers are independent under every policy: random
routing of Poisson arrivals makes N M/G/1 queues, round robin N queues E_N/G/1, and size intervals N
queues M/G/1 with truncated sizes.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, POLICIES, parse_policy
from lapsd.sim.experiment.bound import bound_latency_ns
from lapsd.traces import Workload
from tests.builders import context, workloads
from tests.sim.queues import past_of, poisson, serve

FEW = settings(max_examples=40)
ROUTERS = [
    "random",
    "round-robin",
    "sita",
    "jsq",
    "jsq:d=2",
    "jiq",
    "least-work",
    "least-work-oracle",
    "vllm-dp",
]
ORDERS = ["fcfs", "las", "las-round", "srpt", "lp-srpt", "laps-sd", "gittins"]


def central_queue(work: Workload, servers: int) -> tuple[list[int], list[int]]:
    """Return the start and the end of each request in G/G/N, by Kiefer and Wolfowitz."""
    free_ns = [0] * servers  # when servers are free, ascending
    starts, ends = [], []
    for arrival, size in zip(work.arrival_ns.tolist(), work.size_ns.tolist(), strict=True):
        starts.append(max(arrival, free_ns[0]))
        ends.append(starts[-1] + size)
        free_ns = sorted([ends[-1], *free_ns[1:]])
    return starts, ends


def part(work: Workload, mine: NDArray[np.bool_]) -> Workload:
    """Return a workload of some of the requests."""
    return replace(
        work,
        rows=work.rows[mine],
        arrival_ns=work.arrival_ns[mine],
        predicted_tokens=work.predicted_tokens[mine],
    )


@FEW
@given(work=workloads(), servers=st.integers(1, 5), engine=st.sampled_from(["simpy", "compiled"]))
def test_least_true_work_is_one_queue_to_the_nanosecond(work, servers, engine):
    starts, ends = central_queue(work, servers)
    for router in ("least-work-oracle", None):
        run = serve(work, servers, FCFS(), router, capacity=Capacity(), engine=engine)
        assert run.first_service_ns.tolist() == starts, router
        assert run.finish_ns.tolist() == ends, router


def test_least_true_work_is_one_queue_for_many_requests_near_full_load():
    work = poisson(np.random.default_rng(5), requests=20_000, servers=16, load=0.97)
    starts, ends = central_queue(work, 16)
    for router in ("least-work-oracle", None):
        run = serve(work, 16, FCFS(), router)
        assert run.first_service_ns.tolist() == starts
        assert run.finish_ns.tolist() == ends
    assert (np.array(starts) > work.arrival_ns).mean() > 0.5  # many wait


@FEW
@given(
    work=workloads(),
    servers=st.integers(1, 4),
    router=st.sampled_from(ROUTERS),
    policy=st.sampled_from(ORDERS),
    capacity=st.sampled_from([Capacity(), Capacity(batch=2, kv_slots=3)]),
    guardrails=st.sampled_from([None, 1.0]),
    engine=st.sampled_from(["simpy", "compiled"]),
)
def test_each_server_serves_its_requests_as_if_it_were_alone(
    work, servers, router, policy, capacity, guardrails, engine
):
    past = replace(context(work.priced), routing=past_of(work.size_ns.tolist(), 1_000).routing)
    order = parse_policy(policy)
    run = serve(
        work,
        servers,
        order,
        router,
        past=past,
        capacity=capacity,
        guardrails=guardrails,
        engine=engine,
    )
    for k in range(servers):
        mine = run.server == k
        if mine.any():
            alone = simulate(part(work, mine), order, context=past, capacity=capacity)
            assert run.first_service_ns[mine].tolist() == alone.first_service_ns.tolist()
            assert run.finish_ns[mine].tolist() == alone.finish_ns.tolist()
            assert run.switch_ns[mine].tolist() == alone.switch_ns.tolist()


@FEW
@given(work=workloads(), servers=st.integers(1, 4))
def test_round_robin_follows_the_recursion_of_lindley(work, servers):
    """Every N-th request is served by the same server: w' = max(0, w + size − gap)."""
    run = serve(work, servers, FCFS(), "round-robin", capacity=Capacity())
    arrivals, sizes = work.arrival_ns.tolist(), work.size_ns.tolist()
    waits = [0] * min(servers, len(work))
    for i in range(len(waits), len(work)):
        before = i - servers
        waits.append(max(0, waits[before] + sizes[before] - (arrivals[i] - arrivals[before])))
    assert (run.first_service_ns - work.arrival_ns).tolist() == waits


@FEW
@given(
    work=workloads(),
    servers=st.integers(1, 4),
    router=st.sampled_from([*ROUTERS, None]),
    policy=st.sampled_from(list(POLICIES)),
    guardrails=st.sampled_from([None, 1.0]),
)
def test_no_router_and_no_order_is_below_the_bound(work, servers, router, policy, guardrails):
    """One SRPT server that is N times as fast, at a batch size of 1."""
    try:
        run = serve(
            work,
            servers,
            parse_policy(policy),
            router,
            past=context(work.priced),
            capacity=Capacity(),
            guardrails=None if router is None else guardrails,
            engine="simpy",
        )
    except ValueError as refused:
        assert "one queue" in str(refused)
        return
    bound = bound_latency_ns(work, servers).mean()
    assert run.latency_ns.mean() >= bound * (1 - 1e-12)


@pytest.mark.parametrize("servers", [1, 2, 7])
def test_the_bound_is_reached_by_one_server_and_missed_by_several(servers):
    """With equal requests of one round SRPT is FCFS, and one server reaches the bound."""
    work = poisson(np.random.default_rng(3), requests=500, servers=servers, load=0.9, mean=None)
    run = serve(work, servers, parse_policy("srpt"), "least-work-oracle")
    bound = bound_latency_ns(work, servers).mean()
    assert (run.latency_ns.mean() == bound) == (servers == 1)
