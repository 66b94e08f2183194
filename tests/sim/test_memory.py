"""The interface of memory managers, and managers of other kinds.

`Overlapping` is not a published manager. It shows in few lines what asynchronous KV transfers need.
"""

from dataclasses import dataclass, replace
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LPSRPT, NEVER, POLICIES, Policy, parse_policy
from lapsd.sim.engine import Occupancy, SlowEngine
from lapsd.sim.engine.memory import EVICTIONS, AliseMemory, FastServeMemory, Memory, Paged, Slots
from lapsd.sim.engine.prefill import PREFILLS
from lapsd.sim.engine.recorded import recorded_rows
from lapsd.sim.engine.request import Request
from lapsd.traces import Costs, Linear, Profile, price, trace_from_rounds
from tests.builders import MS, context, row, workload, workloads
from tests.capacities import capacities

PROFILE = Profile.constant(draft_ms=0, verify_ms=10, swap_ms=3)
COSTS = Costs({}, prefill=Linear(5, 2), swap_out=Linear(7, 1), swap_in=Linear(9, 3))


def some_requests(rounds, prompts=None):
    rows = [row(str(i), prompts[i] if prompts else 1, [0] * k, n=0) for i, k in enumerate(rounds)]
    recorded = recorded_rows(workload(price(trace_from_rounds(rows), PROFILE), [0] * len(rows)))
    return [Request(i, 0, 1, r, 0) for i, r in enumerate(recorded)]


def by_index(request):
    return request.index


def test_as_few_waiting_requests_as_possible_are_evicted_the_worst_rank_first():
    memory = Slots(EVICTIONS["swap"](COSTS), 3)
    requests = some_requests([5, 5, 5, 5])
    for r in requests[:3]:
        memory.make_room([], [r], by_index, 0)
    transfers = []
    memory.on_transfer = transfers.append
    spent = memory.make_room([requests[3]], [requests[3]], by_index, 100)
    # the fourth runs; the last of the three waiting requests is swapped out: 7 + 1 token
    assert [(m.kind, m.request.index, m.start_ns, m.end_ns) for m in transfers] == [
        ("swap out", 2, 100, 108)
    ]
    assert (spent, requests[2].switch_ns) == (8, 8)
    assert list(memory.resident) == [requests[0], requests[1], requests[3]]
    memory.release(requests[3])
    requests[2].started = True
    assert memory.make_room([requests[2]], [requests[2]], by_index, 200) == 12
    assert transfers[1:] == [("swap in", requests[2], 200, 212)]


@pytest.mark.parametrize(("name", "out", "back"), [("swap", 17, 39), ("recompute", 0, 23)])
def test_an_eviction_takes_the_time_of_a_kv_transfer_or_a_prefill(name, out, back):
    eviction = EVICTIONS[name](COSTS)
    assert (eviction.out_ns(10), eviction.back_ns(10)) == (out, back)
    # the next round computes the last token
    assert EVICTIONS["recompute"](COSTS).back_ns(1) == 0


def let_run(memory, requests, running, rounds):
    """Run rounds of one token each; return the time of the first decision's KV transfers."""
    spent = []
    for _ in range(rounds):
        fresh = [r for r in running if not r.running]
        for r in requests:
            r.running = r in running
        spent.append(memory.make_room(running, fresh, by_index, 0))
        memory.check()
        for r in running:
            r.started, r.rounds, r.tokens = True, r.rounds + 1, r.tokens + 1
    return spent[0]


def test_a_returning_request_recomputes_only_overwritten_blocks():
    memory, (one, other) = (
        Paged(EVICTIONS["recompute"](COSTS), 6, 2),
        some_requests([20, 20], [4, 3]),
    )
    let_run(memory, [one, other], [one], 3)
    # `one` has four blocks: three are full (4 prompt tokens and 2 of 3 output tokens; the last one
    # is not computed yet), and one more
    assert memory.fits([one, other])
    let_run(memory, [one, other], [other], 3)  # takes two free blocks, then the one not full
    assert (one.kv_tokens, one.uncomputed_tokens) == (7, 0)
    let_run(memory, [one, other], [other], 1)  # takes the last full block
    assert one.uncomputed_tokens == 2
    assert let_run(memory, [one, other], [one], 1) == 5 + 2 * 2  # a prefill of two tokens
    # `one` took a free block and a block of `other`
    assert (one.uncomputed_tokens, other.kv_tokens, other.uncomputed_tokens) == (0, 7, 2)


def test_parked_requests_keep_their_blocks_until_running_requests_need_them():
    memory, (one, other) = (
        Paged(EVICTIONS["recompute"](COSTS), 6, 2, park=True),
        some_requests([20, 20], [4, 3]),
    )
    let_run(memory, [one, other], [one], 3)
    let_run(memory, [one, other], [other], 2)
    # there was room for two blocks of `other`, not for three
    assert list(memory.resident) == [other]


def test_swap_in_returns_all_blocks():
    memory, (one, other) = Paged(EVICTIONS["swap"](COSTS), 6, 2), some_requests([20, 20], [4, 3])
    let_run(memory, [one, other], [one], 3)
    assert let_run(memory, [one, other], [other], 1) == 0  # two blocks are free
    # no third block is free: swap-out of `one`
    assert let_run(memory, [one, other], [other], 1) == 7 + 7
    assert let_run(memory, [one, other], [one], 1) == (7 + 5) + (9 + 3 * 7)


class Overlapping(Slots):
    """Slots with asynchronous KV transfers, one at a time in each direction.

    A request cannot run during its transfer.
    """

    def __init__(self, eviction, room):
        super().__init__(eviction, room)
        self.coming, self.swapped_out = {}, set()

    def fits(self, running, waiting=()):
        return len(running) + len(waiting) + len(self.coming) <= self.room

    def ready_ns(self, request, now_ns):
        return (
            now_ns
            if request in self.resident or not request.rounds
            else self.coming.get(request, NEVER)
        )

    def evict(self, request, at_ns):
        self.swapped_out.add(request)
        return super().evict(request, at_ns)

    def make_room(self, running, fresh, order, now_ns):
        for request, ready_ns in list(self.coming.items()):
            if ready_ns <= now_ns:
                del self.coming[request]
                self.swapped_out.remove(request)
                self.resident[request] = None
        self.room -= len(self.coming)  # a cache that is being swapped in takes room already
        super().make_room(running, [r for r in fresh if r not in self.resident], order, now_ns)
        self.room += len(self.coming)
        for request in sorted(self.swapped_out.difference(self.coming), key=order):
            if self.coming or not self.fits(list(self.resident), [request]):
                break
            request.switch_ns += (back_ns := self.eviction.back_ns(request.kv_tokens))
            self.coming[request] = now_ns + back_ns
        return 0


@dataclass(frozen=True)
class Managed(Capacity):
    """A server with a memory manager that is defined in this file."""

    kind: type = Slots
    arguments: tuple = ()

    def memory(self, costs):
        return self.kind(EVICTIONS[self.evict](costs), *self.arguments)


def columns(run):
    names = ("first_service_ns", "finish_ns", "service_ns", "switch_ns", "preemptions")
    return [getattr(run, name).tolist() for name in names]


policies = st.sampled_from(sorted(POLICIES)).map(parse_policy)
tight = workloads(closed=True).flatmap(lambda work: st.tuples(st.just(work), capacities(work)))


@settings(max_examples=100)
@given(tight, policies)
def test_every_request_finishes_even_if_memory_holds_little_more_than_one(case, policy):
    work, capacity = case
    run = simulate(work, policy, context=context(work.priced), capacity=capacity, check=True)
    assert (run.finish_ns > run.first_service_ns).all()
    assert (run.first_service_ns >= run.arrival_ns).all()
    assert run.end_ns == run.finish_ns.max()


@settings(max_examples=60)
@given(workloads(), policies, st.integers(1, 2), st.integers(1, 2))
def test_asynchronous_kv_transfers_delay_no_round(work, policy, batch, more):
    capacity = Managed(batch, "unlimited", kind=Overlapping, arguments=(batch + more,))
    run = simulate(work, policy, context=context(work.priced), capacity=capacity, check=True)
    assert (run.finish_ns > 0).all()
    if batch == 1:
        assert (run.service_ns == work.size_ns).all()
        # all time is prefill, rounds, or waiting for an arrival or a KV transfer
        assert run.end_ns == run.service_ns.sum() + run.idle_ns


class Fewest(Memory):
    """The smallest possible manager: a limit on tokens. Waiting requests keep their tokens."""

    name = "fewest"

    def __init__(self, eviction, tokens):
        super().__init__(eviction)
        self.tokens = tokens

    @classmethod
    def of(cls, eviction, limits):
        return cls(eviction, limits.kv_tokens)

    def fits(self, running, waiting=()):
        return sum(r.kv_needed for r in running) + sum(r.kv_tokens for r in waiting) <= self.tokens

    def refuse(self, recorded):
        pass


@pytest.mark.parametrize("prefill", PREFILLS)
def test_the_smallest_manager_serves_as_tokens_do(prefill):
    rows = [row(str(i), 4, [1] * k, n=1) for i, k in enumerate([9, 2, 4, 3])]
    work = workload(price(trace_from_rounds(rows), PROFILE), [0, 5, 6, 7])
    limits = {"batch": 1, "kv_slots": "unlimited", "prefill": prefill, "evict": "recompute"}
    own = Managed(**limits, kind=Fewest, arguments=(30,))
    run = simulate(work, LPSRPT(), context=context(work.priced), capacity=own, check=True)
    assert columns(run) == columns(
        simulate(
            work, LPSRPT(), context=context(work.priced), capacity=Capacity(**limits, kv_tokens=30)
        )
    )


def test_a_cache_is_swapped_in_while_another_request_runs():
    # 0 runs until 10; then the shorter requests 1, 2 and 3 run; both slots are full: swap-out of 0
    rows = [row(str(i), 1, [0] * k, n=0) for i, k in enumerate([9, 2, 2, 3])]
    work = workload(price(trace_from_rounds(rows), PROFILE), [0, 5, 6, 7])
    synchronous, asynchronous = (
        simulate(work, LPSRPT(), context=context(work.priced), capacity=c, check=True)
        for c in (Capacity(1, 1), Managed(1, "unlimited", kind=Overlapping, arguments=(2,)))
    )
    assert np.array_equal(synchronous.finish_ns // MS, [166, 33, 53, 83])
    assert asynchronous.end_ns == 160 * MS  # 16 rounds, without a gap


def test_a_server_whose_kv_transfers_never_end_reports_no_progress():
    class Lost(Overlapping):
        def make_room(self, running, fresh, order, now_ns):
            return 0

        def ready_ns(self, request, now_ns):
            return NEVER

    work = workload(price(trace_from_rounds([row("a", 1, [0] * 2)]), PROFILE), [0])
    with pytest.raises(ValueError, match="policy fcfs: no progress at 0 ns: 1 requests wait"):
        simulate(
            work, FCFS(), context=context(work.priced), capacity=Managed(kind=Lost, arguments=(1,))
        )


def test_no_cache_is_swapped_in_ahead_into_blocks_that_an_earlier_request_needs():
    """Otherwise it would be swapped out for that request and swapped in again, without end."""
    # they need 12, 8 and 8 blocks of one token
    first, later, leaving = some_requests([3, 3, 3], [11, 7, 7])
    memory = AliseMemory.of(
        EVICTIONS["swap"](COSTS), Capacity(1, "unlimited", 19), block=1, low=0.9, high=0.95
    )
    memory.swapped_out, memory.held = {first, later}, {leaving: 8}
    memory.leaving = {leaving: 100}
    memory.plan([first, later, leaving], 0)  # 11 blocks are free, and below the watermark
    assert not memory.coming
    memory.plan([later, first, leaving], 0)
    assert list(memory.coming) == [later]


def test_the_request_with_the_longest_wait_is_swapped_out():
    """The wait ends when the request can run, or when its rank rises.

    Two requests run together, for 100 ns each: the third waits 100 ns, and the fourth 150 ns, or
    until its rank rises.
    """
    # each holds 10 blocks of one token
    *_, third, fourth = requests = some_requests([3] * 4, [9] * 4)
    for rises_ns, leaves in ((NEVER, fourth), (120, fourth), (80, third)):
        memory = AliseMemory.of(
            EVICTIONS["swap"](COSTS), Capacity(2, "unlimited", 42), block=1, low=0.8, high=0.9
        )
        memory.resident, memory.held = dict.fromkeys(requests), dict.fromkeys(requests, 10)
        memory.estimate = Mock(
            **{"remaining_ns.return_value": 100, "wake.side_effect": [NEVER, rises_ns]}
        )
        memory.plan(requests, 0)
        assert list(memory.leaving) == [leaves]


def test_swapped_out_requests_come_back_when_no_new_request_may_start():
    new, swapped_out = some_requests([3, 3], [5, 19])
    memory = FastServeMemory.of(
        EVICTIONS["swap"](COSTS), Capacity(1, "unlimited", 40), block=4, host=20
    )
    swapped_out.started, memory.swapped_out = True, {swapped_out}
    assert memory.ready_ns(new, 0) == NEVER  # 19 of 20 tokens of host memory are taken
    assert list(memory.ready([new, swapped_out], 0)) == [new]  # the swap-in frees them
    assert list(memory.coming) == [swapped_out]


def two_where_one_fits(manager, tokens):
    """Serve two requests in memory for one; return time, filled and taken memory, per round.

    They have 10 prompt tokens and 4 or 3 output tokens, one per round of 10 ms.
    """
    rows = [row("a", 10, [0] * 4, n=0), row("b", 10, [0] * 3, n=0)]
    costs = PROFILE.costs
    profile = replace(PROFILE, costs=replace(costs, rounds=dict.fromkeys((1, 2), costs.rounds[1])))
    work = workload(price(trace_from_rounds(rows), profile), [0, 0])
    seen = Occupancy()
    capacity = Capacity(2, "unlimited", tokens, manager=manager)
    run = simulate(work, FCFS(), context=context(work.priced), capacity=capacity, occupancy=seen)
    assert run.end_ns == 70 * MS
    return [x / 10 / MS for x in (seen.ns, seen.filled, seen.taken)]


@pytest.mark.parametrize(
    ("manager", "tokens", "taken"),
    [
        ("tokens", 20, 11 + 12 + 13 + 14),  # a round may add one token
        ("reserve:output=oracle", 20, 4 * 15),
        ("reserve:output=pow2", 20, 4 * 15),
        ("reserve:output=max+context=18", 20, 4 * 19),
        ("paged:block=4", 16, 12 + 12 + 16 + 16),
        ("fastserve:block=4", 16, 12 + 12 + 16 + 16),
        ("alise:block=4+high=1.0+low=1.0", 16, 12 + 12 + 16 + 16),
    ],
)
def test_taken_and_filled_memory_are_recorded_while_requests_wait(manager, tokens, taken):
    assert two_where_one_fits(manager, tokens) == [4, 10 + 11 + 12 + 13, taken]


@given(
    workloads(),
    st.sampled_from(
        ["tokens", "reserve:output=pow2", "paged:block=3", "fastserve:block=3", "alise"]
    ),
)
@settings(max_examples=30)
def test_filled_memory_is_at_most_taken_memory_which_is_at_most_all_memory(work, manager):
    tokens = int((work.priced.trace.prompt_tokens + work.priced.trace.output_tokens).max()) * 2 + 40
    seen = Occupancy()
    capacity = Capacity(3, "unlimited", tokens, manager=manager)
    watched = simulate(
        work, LPSRPT(), context=context(work.priced), capacity=capacity, occupancy=seen
    )
    assert 0 <= seen.filled <= seen.taken <= tokens * seen.ns
    assert seen.ns <= watched.end_ns - watched.idle_ns
    alone = simulate(work, LPSRPT(), context=context(work.priced), capacity=capacity)
    assert watched.finish_ns.tolist() == alone.finish_ns.tolist()


def test_a_manager_without_a_compiled_form_runs_in_simpy():
    work = workload(price(trace_from_rounds([row("a", 1, [0] * 2)]), PROFILE), [0])
    own = Managed(1, "unlimited", kind=Fewest, arguments=(30,))
    with pytest.warns(SlowEngine, match="memory fewest: has no compiled form: runs in SimPy"):
        run = simulate(work, FCFS(), context=context(work.priced), capacity=own)
    assert run.rounds == 2
    with pytest.raises(ValueError, match="memory fewest: has no compiled form"):
        simulate(work, FCFS(), context=context(work.priced), capacity=own, engine="compiled")


@dataclass(frozen=True)
class ThreeInTurn(Policy):
    """Request 1 goes before request 0 for one round; request 2 goes before both."""

    def rank(self, job, now_ns):
        return (5 if job.index == 0 else 1 if job.index == 2 else 3 if job.rounds < 1 else 5,)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_preempted_request_counts_as_waiting_in_the_order_of_evictions(engine):
    """At 20 ms requests 0 and 1 have equal ranks, and request 2 needs the slot of one of them.

    Request 1 ran until then, which gives it no precedence: it entered later, and is evicted.
    """
    rows = [row(str(i), 1, [0] * 3, n=0) for i in range(3)]
    work = workload(price(trace_from_rounds(rows), PROFILE), [0, 5, 15])
    run = simulate(
        work, ThreeInTurn(), context=context(work.priced), capacity=Capacity(1, 2), engine=engine
    )
    assert run.preemptions.tolist() == [1, 1, 0]
    assert run.switch_ns.tolist() == [0, 2 * 3 * MS, 0]
