"""Schedules worked out by hand."""

import numpy as np
import pytest

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LAS, LPSJF, SRPT, LapsSD, Policy, PolicyContext, parse_policy
from lapsd.traces import Profile, Workload, price, trace_from_rounds
from tests.builders import MS, row, workload
from tests.sim.by_hand import PROFILE, SUP_1_S, TWO, A, B, C, in_batches, served

# policy, then for A, B, C: start of prefill, finish, ms switching, preemptions
BY_HAND = [
    # A runs 5 + 4 * 10; B 3 * 10; C 2 + 10
    (FCFS(), (0, 45, 0, 0), (45, 75, 0, 0), (75, 87, 0, 0)),
    # at 45 C (2 predicted tokens) goes before B (3)
    (LPSJF(), (0, 45, 0, 0), (57, 87, 0, 0), (45, 57, 0, 0)),
    # at 15 A has 30 remaining, B 30, C 12: swap-out of A until 18, C 2 + 10 until 30; A ties with B
    # and entered first: swap-in until 33, three rounds; B
    (SRPT(), (0, 63, 6, 1), (63, 93, 0, 0), (18, 30, 0, 0)),
    # at 25 A has 20 > 15 and falls: swap-out until 28; B's two rounds until 48, B falls: swap-out
    # until 51; C until 63; A fell before B: swap-in until 66, two rounds; B: swap-in until 89, one
    # round
    (LAS(K=2, sup_1_s=SUP_1_S), (0, 86, 6, 1), (28, 99, 6, 1), (51, 63, 0, 0)),
    # requests are perceptible after one round: A at 15 with T = 30 and B at 28 with T = 20 go to
    # queue 2; C runs 31-43 in queue 1; then B, the shorter: swap-in until 46, two rounds; A:
    # swap-in until 69, three rounds
    (LapsSD(K=2, sup_1_s=SUP_1_S, gamma=1), (0, 99, 6, 1), (18, 66, 6, 1), (31, 43, 0, 0)),
]


@pytest.mark.parametrize(("policy", "a", "b", "c"), BY_HAND, ids=[p.name for p, *_ in BY_HAND])
def test_three_requests_are_served_as_calculated_by_hand(policy, a, b, c):
    run = served(policy)
    columns = (run.first_service_ns / MS, run.finish_ns / MS, run.switch_ns / MS, run.preemptions)
    assert [tuple(float(v) for v in request) for request in zip(*columns, strict=True)] == [a, b, c]
    assert run.service_ns.tolist() == [45 * MS, 30 * MS, 12 * MS]


def test_with_unlimited_memory_switches_take_no_time():
    run = served(LapsSD(K=2, sup_1_s=SUP_1_S, gamma=1), kv_slots="unlimited")
    assert run.switch_ns.sum() == 0
    # the same order without KV transfers: A 5-15, B -25, C 2 + 10 -37, B -57, A -87
    assert (run.finish_ns / MS).tolist() == [87, 57, 37]


def test_two_slots_evict_only_when_a_third_request_needs_one():
    run = served(LapsSD(K=2, sup_1_s=SUP_1_S, gamma=1), kv_slots=2)
    # A 0-15, B 15-25, both resident; C needs a slot: A (T = 30) ranks behind B (20), swap-out until
    # 28; C 2 + 10 until 40; B 40-60 without a KV transfer; swap-in of A until 63, three rounds
    assert (run.finish_ns / MS).tolist() == [93, 60, 40]
    assert (run.switch_ns / MS).tolist() == [6, 0, 0]


def test_equal_ranks_run_in_order_of_entry_and_never_preempt():
    # D arrives first but falls into queue 2 after E: E runs first there
    slow = row("D", prompt=1, accepted=[0] * 6, n=1)
    priced = price(trace_from_rounds([slow, slow, C]), PROFILE)
    policy = LAS(K=2, sup_1_s=SUP_1_S)
    run = simulate(
        workload(priced, [0, 1, 200]),
        policy,
        context=PolicyContext(10 * MS, [1]),
        capacity=Capacity(kv_slots="unlimited"),
        check=True,
    )
    # D: two rounds, falls at 20; E: two rounds, falls at 40; equal rank, E is running and goes on:
    # 40-80; D
    assert (run.finish_ns / MS).tolist() == [120, 80, 212]


def test_an_arrival_at_the_end_of_a_round_takes_part_in_that_decision():
    blind = PolicyContext(10 * MS, [1])
    priced = price(trace_from_rounds([A, C, B]), PROFILE)
    run = simulate(
        workload(priced, [0, 15, 500]),
        SRPT(),
        context=blind,
        capacity=Capacity(kv_slots="unlimited"),
    )
    assert run.first_service_ns[1] == 15 * MS  # A's first round ends then, and C is shorter


def test_an_arrival_while_the_running_request_falls_a_queue_takes_part_in_that_decision():
    slow = row("D", prompt=1, accepted=[0] * 6, n=1)  # falls at 20
    priced = price(trace_from_rounds([slow, C]), PROFILE)
    run = simulate(
        workload(priced, [0, 20]),
        LAS(K=2, sup_1_s=SUP_1_S),
        context=PolicyContext(10 * MS, [1]),
        capacity=Capacity(kv_slots="unlimited"),
    )
    assert (run.finish_ns / MS).tolist() == [72, 32]


def test_a_running_request_is_not_preempted_by_an_equal_rank():
    blind = PolicyContext(10 * MS, [1])
    priced = price(trace_from_rounds([A, B, C]), PROFILE)
    run = simulate(
        workload(priced, [0, 15, 500]),
        SRPT(),
        context=blind,
        capacity=Capacity(kv_slots="unlimited"),
    )
    assert run.preemptions.sum() == 0  # at 15 A has 30 ms remaining, as B has


def test_two_requests_in_a_batch_run_as_calculated_by_hand():
    """A round of both takes 12 ms and 1 µs per token in the caches; a round of one takes 10 ms."""
    run = in_batches([2, 3], [0, 0], FCFS(), batch=2, kv_slots="unlimited")
    first, second = 12 * MS + 2_000, 12 * MS + 4_000
    assert run.finish_ns.tolist() == [first + second, first + second + 10 * MS]
    assert run.service_ns.tolist() == [first + second, first + second + 10 * MS]


def test_of_equal_ranks_the_first_in_the_queue_runs_first_even_if_it_arrived_later():
    """Request 1 falls into the lower queue one round before request 0."""

    class Sinking(Policy):
        def rank(self, job, now_ns):
            return (job.queue,)

        def on_round(self, job, now_ns):
            job.queue = 1 + (job.rounds >= {0: 2, 1: 1}.get(job.index, 99))

    run = in_batches([4, 4, 2, 5], [0, 0, 1, 1], Sinking(), batch=2, kv_slots="unlimited")
    # 2 leaves after the third round; 0 and 1 wait in queue 2, and 1 takes the free batch slot
    assert run.preemptions.tolist() == [1, 1, 0, 0]
    assert run.finish_ns[1] < run.finish_ns[3] < run.finish_ns[0]


def test_at_batch_size_one_the_first_in_the_queue_runs_first_too():
    """Request 1 falls into queue 3 at once, request 0 through queue 2; both wait for request 2."""
    queues = {0: [1, 2, 3], 1: [1, 3]}

    class Falling(Policy):
        def rank(self, job, now_ns):
            return (job.queue,)

        def on_round(self, job, now_ns):
            its = queues.get(job.index, [1])
            job.queue = its[min(job.rounds, len(its) - 1)]

    rows = [row(str(i), 1, [0] * k, n=0) for i, k in enumerate([4, 4, 1])]
    work = workload(price(trace_from_rounds(rows), TWO), [0, 5, 25])
    run = simulate(
        work,
        Falling(),
        context=PolicyContext(10 * MS, [30 * MS]),
        capacity=Capacity(kv_slots="unlimited"),
        engine="simpy",
    )
    # 0 until 10, 1 until 20, 0 until 30 and into queue 3, 2 until 40, then 1, in queue 3 since 20
    assert run.finish_ns.tolist() == [90 * MS, 70 * MS, 40 * MS]


def test_memory_in_tokens_holds_the_first_requests_that_fit():
    run = in_batches([4, 4, 1], [0, 0, 0], FCFS(), batch=2, kv_slots="unlimited", kv_tokens=7)
    # each request holds 1 + its output tokens and reserves one: two fit at first, later only one
    assert run.preemptions.sum() >= 1
    assert run.switch_ns.sum() > 0
    with pytest.raises(
        ValueError,
        match="kv_tokens 5: request 0 can never fit: its prompt, output and look-ahead take 6",
    ):
        in_batches([4], [0], FCFS(), batch=1, kv_slots="unlimited", kv_tokens=5)


def test_memory_goes_to_the_best_current_ranks_even_without_waiting_requests():
    class TurnsAway(Policy):
        def rank(self, job, now_ns):
            return (2 if job.index == 0 and job.rounds >= 2 else job.index,)

    run = in_batches([4, 4], [0, 0], TurnsAway(), batch=2, kv_slots="unlimited", kv_tokens=6)
    # two rounds of both fill the memory; then 1 has the better rank, and 0 is evicted
    assert run.preemptions.tolist() == [1, 0]
    assert run.finish_ns[1] < run.finish_ns[0]


def test_a_dropped_cache_is_prefilled_again_and_a_swapped_cache_is_transferred_twice():
    costs = {}
    for evict in ("swap", "recompute"):
        run = in_batches([3, 1], [0, 1], parse_policy("lp-srpt"), batch=1, kv_slots=1, evict=evict)
        assert run.preemptions.sum() == 1
        costs[evict] = int(run.switch_ns.sum())
    assert costs == {"swap": 2 * MS, "recompute": MS}


def test_prefills_of_one_decision_run_in_turn_or_together():
    rows = [row("a", 5, [0] * 2, n=0), row("b", 5, [0] * 2, n=0)]
    work = workload(price(trace_from_rounds(rows), TWO), [0, 0])
    starts = {}
    for how in ("alone", "batched"):
        limits = Capacity(2, "unlimited", prefill=how)
        run = simulate(work, FCFS(), context=PolicyContext(1, [1]), capacity=limits, check=True)
        starts[how] = run.first_service_ns.tolist()
        assert run.finish_ns[0] == (2 if how == "alone" else 1) * MS + 2 * 12 * MS + 10_000 + 12_000
    assert starts == {"alone": [0, MS], "batched": [0, 0]}


def test_a_closed_loop_runs_as_calculated_by_hand():
    """Two clients with a think time of 5 ms; every request takes 10 ms."""
    rows = [row(str(i), 1, [0], n=0) for i in range(5)]
    priced = price(trace_from_rounds(rows), Profile.constant(draft_ms=0, verify_ms=10))
    at_0, ones = np.zeros(5, dtype=np.int64), np.ones(5, dtype=np.int64)
    work = Workload(priced, np.arange(5), at_0, ones, clients=2, think_ns=5 * MS)
    for engine in ("simpy", "compiled"):
        run = simulate(work, FCFS(), context=PolicyContext(10 * MS, [1]), engine=engine)
        assert (run.arrival_ns / MS).tolist() == [0, 0, 15, 25, 35]
        assert (run.finish_ns / MS).tolist() == [10, 20, 30, 40, 50]
        assert (run.latency_ns / MS).tolist() == [10, 20, 15, 15, 15]
    alone = Workload(priced, np.arange(5), at_0, ones, clients=1, think_ns=5 * MS)
    run = simulate(alone, FCFS(), context=PolicyContext(10 * MS, [1]), check=True)
    assert run.idle_ns == 4 * 5 * MS
    assert set((run.latency_ns / MS).tolist()) == {10}
