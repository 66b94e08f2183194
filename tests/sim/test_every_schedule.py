"""Properties of every schedule."""

import numpy as np
from hypothesis import given, settings, strategies as st

from lapsd import Capacity, Timeline, bound_latency_ns, simulate
from lapsd.policies import POLICIES, SRPT, parse_policy
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import context, row, traces, workload, workloads
from tests.sim.by_hand import PROFILE

ALL = [parse_policy(name) for name in POLICIES]


@settings(max_examples=60)
@given(workloads(), st.sampled_from([1, 2, "unlimited"]), st.sampled_from(ALL))
def test_service_switching_and_idle_time_add_up_to_the_run(work, kv_slots, policy):
    run = simulate(
        work, policy, context=context(work.priced), capacity=Capacity(kv_slots=kv_slots), check=True
    )
    assert (run.service_ns == work.size_ns).all()
    assert (
        run.end_ns
        == run.finish_ns.max()
        == run.service_ns.sum() + run.switch_ns.sum() + run.idle_ns
    )
    assert (run.first_service_ns >= run.arrival_ns).all()
    assert (run.latency_ns >= work.size_ns).all()


@settings(max_examples=60)
@given(workloads(), st.sampled_from([1, "unlimited"]))
def test_no_policy_beats_the_bound(work, kv_slots):
    bound = bound_latency_ns(work).sum()
    for policy in ALL:
        assert (
            simulate(
                work, policy, context=context(work.priced), capacity=Capacity(kv_slots=kv_slots)
            ).latency_ns.sum()
            >= bound
        )


@settings(max_examples=60)
@given(workloads(profile=Profile.constant(draft_ms=0, verify_ms=1)))
def test_with_equal_rounds_and_free_switches_no_policy_beats_srpt(work):
    # draft steps cost nothing, so rounds of any draft length take the same time
    best = simulate(work, SRPT(), context=context(work.priced)).latency_ns.sum()
    for policy in ALL:
        assert simulate(work, policy, context=context(work.priced)).latency_ns.sum() >= best


@settings(max_examples=25)
@given(st.sampled_from(ALL), st.integers(0, 2**32 - 1))
def test_latency_falls_as_acceptance_rises(policy, seed):
    # acceptance must change service times; two public simulators fail this test
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 200, size=8)
    arrivals = np.cumsum(rng.exponential(300, size=8))
    totals = []
    for accepted in range(5):
        rows = []
        for length in lengths:
            rounds = [accepted] * (int(length) // (accepted + 1))
            left = int(length) - sum(rounds) - len(rounds)
            rows.append(row("r", 10, [*rounds, left - 1] if left else rounds))
        work = workload(price(trace_from_rounds(rows), PROFILE), arrivals.tolist())
        totals.append(int(simulate(work, policy, context=context(work.priced)).latency_ns.sum()))
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) == 5


@settings(max_examples=30)
@given(traces(), st.sampled_from(ALL))
def test_a_lone_request_takes_its_size_under_every_policy(trace, policy):
    priced = price(trace, PROFILE)
    apart = np.arange(len(trace)) * 10**6
    run = simulate(workload(priced, apart.tolist()), policy, context=context(priced))
    assert (run.latency_ns == priced.size_ns).all()
    assert run.preemptions.sum() == 0


class Census(Timeline):
    """Records the number of active requests at each decision."""

    def __init__(self):
        super().__init__()
        self.counts = []

    def decided(self, now_ns, start_ns, round_ns, running, waiting):
        self.counts.append((now_ns, len(running) + len(waiting)))


@settings(max_examples=60)
@given(workloads(), st.sampled_from(ALL), st.integers(1, 3))
def test_littles_law_holds_to_the_nanosecond(work, policy, batch):
    """The number of active requests, integrated over time, is the sum of latencies."""
    census = Census()
    run = simulate(
        work,
        policy,
        context=context(work.priced),
        capacity=Capacity(batch, batch),
        timeline=census,
        check=True,
    )
    times = [at for at, _ in census.counts] + [run.end_ns]
    area = 0
    for (start, active), end in zip(census.counts, times[1:], strict=True):
        # between two decisions, requests may arrive and finish
        coming = run.arrival_ns[(run.arrival_ns > start) & (run.arrival_ns < end)]
        leaving = run.finish_ns[(run.finish_ns > start) & (run.finish_ns <= end)]
        area += active * (end - start) + int((end - coming).sum()) - int((end - leaving).sum())
    assert area == run.latency_ns.sum()


@settings(max_examples=60)
@given(workloads(closed=True), st.sampled_from(ALL), st.integers(1, 3))
def test_a_closed_loop_never_holds_more_requests_than_clients(work, policy, batch):
    run = simulate(
        work,
        policy,
        context=context(work.priced),
        capacity=Capacity(batch, "unlimited"),
        check=True,
    )
    if work.clients is None:
        return
    times = np.concatenate([run.arrival_ns, run.finish_ns])
    change = np.concatenate([np.ones(len(work)), -np.ones(len(work))])
    # at one instant, departures come before arrivals
    active = np.cumsum(change[np.lexsort((change, times))])
    assert active.max() <= work.clients
    later = np.sort(run.finish_ns)[: max(0, len(work) - work.clients)] + work.think_ns
    assert run.arrival_ns[work.clients :].tolist() == later.tolist()
