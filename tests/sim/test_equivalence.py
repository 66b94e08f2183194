"""The compiled loop and the specification give equal runs, to the nanosecond."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lapsd import Capacity, simulate, simulate_many
from lapsd.policies import FCFS, LAS, LPSRPT, Alise, FastServe, LapsSD, Policy
from lapsd.traces import Costs, Linear, Profile, RoundTerms, price, trace_from_rounds
from tests.builders import MS, context, row, workload
from tests.capacities import OFFLOADING, SYNCHRONOUS
from tests.sim.equivalence import (
    cases,
    compiled_equals_specification,
    equal_runs,
    equal_with_real_lengths,
    events,
    one_at_a_time,
    policies,
    real_scenarios,
)
from tests.sim.python_loop import STEPS


@settings(max_examples=300)
@given(cases())
def test_the_compiled_loop_equals_the_specification(case):
    assert compiled_equals_specification(*case, check=True)


@settings(max_examples=300)
@given(one_at_a_time())
def test_the_compiled_loop_equals_the_specification_at_batch_size_one(case):
    assert compiled_equals_specification(*case)


@settings(max_examples=200)
@given(cases(OFFLOADING, prefills=("alone", "batched", *STEPS)))
def test_the_compiled_loop_equals_the_specification_with_asynchronous_kv_transfers(case):
    assert compiled_equals_specification(*case)


@settings(max_examples=200)
@given(cases(SYNCHRONOUS, prefills=STEPS))
def test_the_compiled_loop_equals_the_specification_with_prompts_in_shared_steps(case):
    assert compiled_equals_specification(*case)


@settings(max_examples=50)
@given(cases(prefills=("alone", "batched", *STEPS)), st.lists(policies(), min_size=1, max_size=3))
def test_many_runs_in_one_call_equal_one_at_a_time(case, others):
    work, policy, capacity = case
    served, past = [policy, *others, policy], context(work.priced)
    together = simulate_many([work] * len(served), served, [past] * len(served), capacity)
    for one, run in zip(served, together, strict=True):
        assert equal_runs(run, simulate(work, one, context=past, capacity=capacity))


@settings(max_examples=50)
@given(cases())
def test_policies_see_the_same_events_in_the_same_order(case):
    work, _, capacity = case
    seen = events(work, capacity, "compiled")
    assert seen == events(work, capacity, "simpy")
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
def test_the_compiled_loop_equals_the_specification_with_real_lengths(memory, policy):
    assert equal_with_real_lengths(
        policy, batch=64, fit=48, requests=150, load=1.3, **{"prefill": "batched"} | memory
    )


@pytest.mark.deep
@settings(max_examples=500, derandomize=False)
@given(real_scenarios(), st.sampled_from([64, 200, 512, 2048]))
def test_the_compiled_loop_equals_the_specification_with_real_lengths_anywhere(scenario, budget):
    chunked = {"token_budget": budget} if scenario["prefill"] == "chunked" else {}
    assert equal_with_real_lengths(**scenario, **chunked)


@pytest.mark.deep
@settings(max_examples=10_000, derandomize=False)
@given(cases(max_requests=20, prefills=("alone", "batched", *STEPS)))
def test_the_compiled_loop_equals_the_specification_in_ten_thousand_cases(case):
    assert compiled_equals_specification(*case)


FLAT = RoundTerms(Linear(0, 0), {1: 10 * MS}, {1: 0}, 0)
PROFILE = Profile.constant(draft_ms=0, verify_ms=10)
PROFILE = replace(PROFILE, costs=replace(PROFILE.costs, rounds={1: FLAT, 4: FLAT}))


def by_rounds(rounds, arrivals_ms, predicted, prompts=None, profile=PROFILE):
    rows = [
        row(str(i), 1 if prompts is None else prompts[i], [0] * k, n=0)
        for i, k in enumerate(rounds)
    ]
    return workload(price(trace_from_rounds(rows), profile), arrivals_ms, predicted)


@dataclass(frozen=True)
class Turning(Policy):
    """First come first served, and last come first served, by turns of 7 ms."""

    def rank(self, job, now_ns):
        return (-job.index if now_ns // 7_000_000 % 2 else job.index,)


@pytest.mark.parametrize("manager", ["auto", "alise:block=1"])  # a heap, and a list in order
def test_many_waiting_requests_that_all_change_places_are_in_order(manager):
    rows = [row(str(i), 1, [0] * 2, n=1) for i in range(60)]
    work = workload(price(trace_from_rounds(rows), PROFILE), [0] * 60)
    capacity = Capacity(1, "unlimited", 100, manager=manager)
    assert compiled_equals_specification(work, Turning(), capacity)


def test_a_batch_slot_left_free_for_lack_of_memory_goes_to_a_new_request_that_fits():
    # 0 runs; 1 does not fit together with it and waits; 2 ranks before 1 and fits
    work = by_rounds([6, 6, 2], [0, 0, 15], [7, 9, 8], prompts=[8, 40, 1])
    policy, capacity = LPSRPT(), Capacity(2, "unlimited", 48)
    assert compiled_equals_specification(work, policy, capacity)
    run = simulate(work, policy, context=context(work.priced), capacity=capacity)
    assert run.first_service_ns[2] == 20 * MS < run.first_service_ns[1]


def test_a_request_stopped_for_lack_of_memory_ranks_behind_equal_requests_afterwards():
    # equal ranks: 0 and 1 run until memory is too small for both; then 2, in the queue before 1
    # changed queues, is first
    @dataclass(frozen=True)
    class Moves(Policy):
        def rank(self, job, now_ns):
            return (0 if job.index == 0 else 1,)

        def on_round(self, job, now_ns):
            job.queue = 2 if job.rounds >= 2 else 1

    work = by_rounds([9, 9, 9], [0, 0, 0], [1, 1, 1], prompts=[10, 10, 5])
    capacity = Capacity(2, "unlimited", 31)
    assert compiled_equals_specification(work, Moves(), capacity)
    run = simulate(work, Moves(), context=context(work.priced), capacity=capacity)
    assert run.preemptions.tolist()[1] >= 1
    assert run.first_service_ns[2] < run.finish_ns[0]


def test_a_stopped_request_holds_the_blocks_of_its_last_round_if_no_other_request_starts():
    # a cache that is being swapped in leaves the running request no room; one block decides whether
    # the running request is then swapped out
    costs = Costs(
        {1: RoundTerms(Linear(0, 0), {1: 10}, {1: 0}, 0)}, Linear(0, 0), Linear(0, 0), Linear(0, 1)
    )
    profile, arrivals_ms = Profile("by_hand", "unknown", costs), [0, 9e-6, 9e-6]
    work = by_rounds([3, 2, 4], arrivals_ms, [4, 3, 7], prompts=[18, 13, 5], profile=profile)
    assert compiled_equals_specification(
        work, LAS(K=3, sup_1_s=15e-9), Capacity(1, "unlimited", manager="alise:block=1+blocks=29")
    )


@dataclass(frozen=True)
class NotesRounds(Policy):
    """A policy whose array depends on the order in which the rounds of a step are committed."""

    seen: np.ndarray = field(
        default_factory=lambda: np.zeros(1, dtype=np.int64), metadata={"bound": True}
    )

    def rank(self, job, now_ns):
        return (job.rounds * (job.index + 2) % 5,)

    def on_round(self, job, now_ns):
        self.seen[0] = (3 * self.seen[0] + job.index + 1) % 1_000_003


@settings(max_examples=100)
@given(cases(prefills=("alone", "batched", *STEPS)))
def test_a_policy_takes_in_the_rounds_of_a_step_in_order_of_arrival_in_both_programs(case):
    work, _, capacity = case
    past = context(work.priced)
    by_simpy, by_loop = (
        simulate(work, NotesRounds(), context=past, capacity=capacity, engine=engine)
        for engine in ("simpy", "compiled")
    )
    assert equal_runs(by_simpy, by_loop)
    assert by_simpy.policy.seen == by_loop.policy.seen
