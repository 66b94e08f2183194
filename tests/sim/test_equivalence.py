"""The law of the engine: skipping ahead changes nothing, to the nanosecond."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings, strategies as st

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LAS, LPSRPT, NEVER, Alise, FastServe, LapsSD, Policy, Until
from lapsd.sim.engine.simulation import promises
from lapsd.traces import Costs, Linear, Profile, RoundTerms, price, trace_from_rounds
from tests.builders import MS, context, row, workload
from tests.capacities import OFFLOADING, SITTING
from tests.sim.equivalence import (
    cases,
    events,
    one_at_a_time,
    real_settings,
    same,
    same_of_real_lengths,
)


@settings(max_examples=400)
@given(cases())
def test_skipping_ahead_changes_nothing(case):
    assert same(*case)


@settings(max_examples=600)
@given(one_at_a_time())
def test_skipping_ahead_changes_nothing_where_one_runs_at_a_time(case):
    assert same(*case)


@settings(max_examples=400)
@given(cases(OFFLOADING))
def test_skipping_ahead_changes_nothing_where_caches_move_beside_rounds(case):
    assert same(*case)


@settings(max_examples=400)
@given(cases(SITTING, prefills=("mixed", "chunked")))
def test_skipping_ahead_changes_nothing_where_prompts_share_steps(case):
    assert same(*case)


@settings(max_examples=100)
@given(cases())
def test_skipping_ahead_policies_see_the_same_events_in_the_same_order(case):
    work, _, capacity = case
    seen = events(work, capacity, skip=True)
    assert seen == events(work, capacity, skip=False)
    assert {(kind, running) for kind, _, _, running, *_ in seen} == {
        ("arrival", False),
        ("completion", False),
    }


@pytest.mark.parametrize(
    "policy", [FCFS(), Alise(), FastServe(), LapsSD()], ids=lambda policy: policy.name
)
@pytest.mark.parametrize(
    "memory",
    [
        {"memory": "tokens"},
        {"memory": "reserve"},
        {"memory": "paged"},
        {"memory": "fastserve"},
        {"memory": "alise"},
        {"memory": "alise:overlap=false"},
        {"memory": "paged", "evict": "recompute", "prefill": "chunked"},
        {
            "memory": "paged:park=true",
            "evict": "recompute",
            "prefill": "chunked",
            "token_budget": 500,
        },
        {"memory": "reserve", "prefill": "mixed"},
    ],
    ids=lambda memory: "-".join(map(str, memory.values())),
)
def test_skipping_ahead_changes_nothing_for_many_requests_of_real_lengths(memory, policy):
    assert same_of_real_lengths(
        policy, batch=24, fit=24, requests=100, load=1.3, **{"prefill": "batched"} | memory
    )


@pytest.mark.deep
@settings(max_examples=500, derandomize=False)
@given(real_settings(), st.sampled_from([64, 200, 512, 2048]))
def test_skipping_ahead_changes_nothing_of_real_lengths_whatever_the_server(scenario, budget):
    chunked = {"token_budget": budget} if scenario["prefill"] == "chunked" else {}
    assert same_of_real_lengths(**scenario, **chunked)


@pytest.mark.deep
@settings(max_examples=10_000, derandomize=False)
@given(cases(max_requests=20))
def test_skipping_ahead_changes_nothing_in_any_of_ten_thousand_cases(case):
    assert same(*case)


FLAT = RoundTerms(Linear(0, 0), {1: 10 * MS}, {1: 0}, 0)
PROFILE = Profile.constant(draft_ms=0, verify_ms=10)
PROFILE = replace(PROFILE, costs=replace(PROFILE.costs, rounds={1: FLAT, 4: FLAT}))


def by_rounds(rounds, arrivals_ms, predicted, prompts=None, profile=PROFILE):
    rows = [
        row(str(i), 1 if prompts is None else prompts[i], [0] * k, n=0)
        for i, k in enumerate(rounds)
    ]
    return workload(price(trace_from_rounds(rows), profile), arrivals_ms, predicted)


def test_a_seat_that_is_free_for_want_of_memory_goes_to_a_newcomer_who_fits():
    # 0 runs; 1, too large beside it, waits; 2 goes before 1 and fits
    work = by_rounds([6, 6, 2], [0, 0, 15], [7, 9, 8], prompts=[8, 40, 1])
    policy, capacity = LPSRPT(), Capacity(2, None, 48)
    assert same(work, policy, capacity)
    run = simulate(work, policy, context=context(work.priced), capacity=capacity)
    assert run.first_service_ns[2] == 20 * MS < run.first_service_ns[1]


def test_who_lost_a_seat_to_memory_goes_behind_equals_at_the_next_boundary():
    # equal ranks: 0 and 1 run until memory is short for both; then 2, which came before 1 moved, is
    # first in line
    @dataclass(frozen=True)
    class Moves(Policy):
        def rank(self, job, now_ns):
            return (0 if job.index == 0 else 1,)

        def on_round(self, job, now_ns):
            job.queue = 2 if job.rounds >= 2 else 1

        def run_until(self, job, best_waiting, now_ns):
            return Until(rounds=2 if job.rounds < 2 else NEVER)

    work = by_rounds([9, 9, 9], [0, 0, 0], [1, 1, 1], prompts=[10, 10, 5])
    capacity = Capacity(2, None, 31)
    assert same(work, Moves(), capacity)
    run = simulate(work, Moves(), context=context(work.priced), capacity=capacity)
    assert run.preemptions.tolist()[1] >= 1
    assert run.first_service_ns[2] < run.finish_ns[0]


def test_who_stops_though_nobody_starts_holds_what_its_last_round_took():
    # a cache on its way in leaves the one who ran no room; whether it has to leave then hangs on a
    # single block
    costs = Costs(
        {1: RoundTerms(Linear(0, 0), {1: 10}, {1: 0}, 0)}, Linear(0, 0), Linear(0, 0), Linear(0, 1)
    )
    profile, arrivals_ms = Profile("by_hand", "unknown", costs), [0, 9e-6, 9e-6]
    work = by_rounds([3, 2, 4], arrivals_ms, [4, 3, 7], prompts=[18, 13, 5], profile=profile)
    assert same(work, LAS(K=3, sup_1_s=15e-9), Capacity(1, None, manager="alise:block=1+blocks=29"))


@dataclass(frozen=True)
class Loud(LAS):
    """Ranks otherwise, and does not say for how long."""

    def rank(self, job, now_ns):
        return (-job.queue, job.rounds)


def test_a_promise_made_for_other_methods_is_not_trusted():
    assert promises(LAS())
    assert promises(LapsSD())
    assert not promises(Loud())
    assert not promises(Policy())
    work = by_rounds([3, 4, 5], [0, 0, 5], [3, 4, 5])
    past = context(work.priced)
    fast, slow = (
        simulate(work, Loud(), context=past, skip=skip).finish_ns for skip in (True, False)
    )
    assert fast.tolist() == slow.tolist()


def test_a_wake_in_the_past_is_refused_by_name():
    class Insomniac(LAS):
        def run_until(self, job, best_waiting, now_ns):
            return Until()

        def wake(self, job, now_ns):
            return now_ns

    work = by_rounds([3, 4], [0, 0], [3, 4])
    with pytest.raises(ValueError, match="policy las: wake of request 0 at 0 ns is not after 0 ns"):
        simulate(work, Insomniac(), context=context(work.priced))
