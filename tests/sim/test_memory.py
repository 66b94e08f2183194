"""The memory protocol: what it promises servers, and that managers of other kinds fit behind it.

`Overlapping` is not a published manager: it moves caches beside rounds in as few lines as show what
that needs.
"""

from dataclasses import dataclass, replace
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LPSRPT, NEVER, POLICIES, parse_policy
from lapsd.sim.engine import Occupancy
from lapsd.sim.engine.memory import (
    EVICTIONS,
    AliseMemory,
    FastServeMemory,
    Memory,
    Paged,
    Slots,
    Tokens,
)
from lapsd.sim.engine.prefill import PREFILLS
from lapsd.sim.engine.recorded import recorded_rows
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.servers.totals import Needs
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


def test_the_worst_of_those_who_wait_go_first_and_only_as_many_as_must():
    memory = Slots(EVICTIONS["swap"](COSTS), 3)
    requests = some_requests([5, 5, 5, 5])
    for r in requests[:3]:
        memory.make_room([], [r], by_index, 0)
    moves = []
    memory.moved = moves.append
    spent = memory.make_room([requests[3]], [requests[3]], by_index, 100)
    # the fourth runs; of the three that wait the last goes: 7 + 1 token
    assert [(m.kind, m.request.index, m.start_ns, m.end_ns) for m in moves] == [
        ("swap out", 2, 100, 108)
    ]
    assert (spent, requests[2].switch_ns) == (8, 8)
    assert list(memory.resident) == [requests[0], requests[1], requests[3]]
    memory.release(requests[3])
    requests[2].started = True
    assert memory.make_room([requests[2]], [requests[2]], by_index, 200) == 12
    assert moves[1:] == [("swap in", requests[2], 200, 212)]


@pytest.mark.parametrize(("name", "out", "back"), [("swap", 17, 39), ("recompute", 0, 23)])
def test_what_an_eviction_costs(name, out, back):
    eviction = EVICTIONS[name](COSTS)
    assert (eviction.out_ns(10), eviction.back_ns(10)) == (out, back)
    assert (EVICTIONS["recompute"](COSTS).back_ns(1)) == 0  # the next round verifies a last token


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(0, 40),
    st.integers(1, 9),
    st.data(),
)
def test_memory_of_tokens_lasts_exactly_as_long_as_it_says(rounds, more, most, data):
    requests = some_requests(rounds, [data.draw(st.integers(1, 5)) for _ in rounds])
    most = min(most, *rounds)
    needed = sum(r.kv_needed for r in requests)
    memory = Tokens(EVICTIONS["swap"](COSTS), None, needed + more)
    waiting = some_requests([3])[0]
    if more > waiting.kv_tokens:
        memory.make_room([], [waiting], by_index, 0)
    for r in requests:
        r.running = True
    memory.make_room(requests, requests, by_index, 0)
    beside, needs = [waiting] if waiting in memory.resident else [], Needs(memory)
    for r in requests:
        needs.sit(r, 0)
    lasts = needs.within(0, most, memory.room(beside))
    assert 1 <= lasts <= most
    for _ in range(lasts):
        assert memory.fits(requests, beside)
        for r in requests:
            r.rounds, r.tokens = r.rounds + 1, r.tokens + 1
    if lasts < most:
        assert not memory.fits(requests, beside)


def let_run(memory, requests, running, rounds):
    """Those run so many rounds of one token; returns what the first decision's moves take."""
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


def test_coming_back_computes_again_only_what_was_overwritten():
    memory, (one, other) = (
        Paged(EVICTIONS["recompute"](COSTS), 6, 2),
        some_requests([20, 20], [4, 3]),
    )
    let_run(memory, [one, other], [one], 3)
    # four blocks: three are full (the prompt's 4 tokens and two of 3; the last is not computed
    # yet), and one more
    assert memory.fits([one, other])
    let_run(
        memory, [one, other], [other], 3
    )  # takes the two that nobody had, then the one that was not full
    assert (one.kv_tokens, one.uncomputed_tokens) == (7, 0)
    let_run(memory, [one, other], [other], 1)  # takes the last full one
    assert one.uncomputed_tokens == 2
    assert let_run(memory, [one, other], [one], 1) == 5 + 2 * 2  # a prefill of two tokens
    assert (one.uncomputed_tokens, other.kv_tokens, other.uncomputed_tokens) == (
        0,
        7,
        2,
    )  # it took one nobody's, and one of the other's


def test_parked_requests_keep_their_blocks_until_those_who_run_lack_some():
    memory, (one, other) = (
        Paged(EVICTIONS["recompute"](COSTS), 6, 2, park=True),
        some_requests([20, 20], [4, 3]),
    )
    let_run(memory, [one, other], [one], 3)
    let_run(memory, [one, other], [other], 2)
    assert list(memory.resident) == [
        other
    ]  # there was room for two blocks of the other, not for three


def test_swapped_out_blocks_come_back_whole():
    memory, (one, other) = Paged(EVICTIONS["swap"](COSTS), 6, 2), some_requests([20, 20], [4, 3])
    let_run(memory, [one, other], [one], 3)
    assert let_run(memory, [one, other], [other], 1) == 0  # two blocks are left for it
    assert let_run(memory, [one, other], [other], 1) == 7 + 7  # a third is not: one moves out
    assert let_run(memory, [one, other], [one], 1) == (7 + 5) + (9 + 3 * 7)


class Overlapping(Slots):
    """Slots whose caches move beside rounds, one at a time each way; who is on the way cannot
    run.
    """

    predictable = False

    def __init__(self, eviction, slots):
        super().__init__(eviction, slots)
        self.coming, self.swapped_out = {}, set()

    def fits(self, running, waiting=()):
        return len(running) + len(waiting) + len(self.coming) <= self.slots

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
        self.slots -= len(self.coming)  # a cache that is being swapped in takes room already
        super().make_room(running, [r for r in fresh if r not in self.resident], order, now_ns)
        self.slots += len(self.coming)
        for request in sorted(self.swapped_out.difference(self.coming), key=order):
            if self.coming or not self.fits(list(self.resident), [request]):
                break
            request.switch_ns += (back_ns := self.eviction.back_ns(request.kv_tokens))
            self.coming[request] = now_ns + back_ns
        return 0


@dataclass(frozen=True)
class Managed(Capacity):
    """A server with a manager of the test's."""

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
def test_nobody_is_lost_and_nothing_stands_still_where_little_more_than_one_request_fits(
    case, policy
):
    work, capacity = case
    run = simulate(
        work, policy, context=context(work.priced), capacity=capacity, skip=False, check=True
    )
    assert (run.finish_ns > run.first_service_ns).all()
    assert (run.first_service_ns >= run.arrival_ns).all()
    assert run.end_ns == run.finish_ns.max()


@settings(max_examples=60)
@given(workloads(), policies, st.integers(1, 2), st.integers(1, 2))
def test_moves_beside_rounds_stall_nobody(work, policy, batch, more):
    capacity = Managed(batch, None, kind=Overlapping, arguments=(batch + more,))
    run = simulate(work, policy, context=context(work.priced), capacity=capacity, check=True)
    assert (run.finish_ns > 0).all()
    if batch == 1:
        assert (run.service_ns == work.size_ns).all()
        # all time is prefill, rounds, or waiting for an arrival or for a cache on its way
        assert run.end_ns == run.service_ns.sum() + run.idle_ns


class Fewest(Memory):
    """As little as a manager has to say: so many tokens, and those who wait hold what they have."""

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
def test_a_manager_that_promises_nothing_is_asked_at_each_decision(prefill):
    rows = [row(str(i), 4, [1] * k, n=1) for i, k in enumerate([9, 2, 4, 3])]
    work = workload(price(trace_from_rounds(rows), PROFILE), [0, 5, 6, 7])
    limits = {"batch": 1, "kv_slots": None, "prefill": prefill, "evict": "recompute"}
    own = Managed(**limits, kind=Fewest, arguments=(30,))
    run = simulate(work, LPSRPT(), context=context(work.priced), capacity=own, check=True)
    assert columns(run) == columns(
        simulate(
            work, LPSRPT(), context=context(work.priced), capacity=Capacity(**limits, kv_tokens=30)
        )
    )


def test_a_cache_comes_back_while_another_request_runs():
    # 0 runs until 10, and makes way for 1, 2 and 3, shorter; of two slots both are full then: 0
    # moves out
    rows = [row(str(i), 1, [0] * k, n=0) for i, k in enumerate([9, 2, 2, 3])]
    work = workload(price(trace_from_rounds(rows), PROFILE), [0, 5, 6, 7])
    stalled, beside = (
        simulate(work, LPSRPT(), context=context(work.priced), capacity=c, check=True)
        for c in (Capacity(1, 1), Managed(1, None, kind=Overlapping, arguments=(2,)))
    )
    assert np.array_equal(stalled.finish_ns // MS, [166, 33, 53, 83])
    assert beside.end_ns == 160 * MS  # 16 rounds, without a gap


def test_a_server_whose_caches_never_come_says_so():
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


def test_nothing_is_fetched_ahead_into_blocks_that_anothers_turn_waits_for():
    """Else it would be sent away for that turn, and fetched again as soon as it is out, for
    ever.
    """
    turn, later, away = some_requests(
        [3, 3, 3], [11, 7, 7]
    )  # they need 12, 8 and 8 blocks of a token
    memory = AliseMemory.of(
        EVICTIONS["swap"](COSTS), Capacity(1, None, 19), block=1, low=0.9, high=0.95
    )
    memory.swapped_out, memory.held, memory.leaving = {turn, later}, {away: 8}, {away: 100}
    assert memory.plan([turn, later, away], 0)  # 11 are free, and below the watermark
    assert not memory.coming
    assert not memory.plan([later, turn, away], 0)
    assert list(memory.coming) == [later]


def test_who_waits_longest_moves_out_and_that_is_until_its_turn_or_until_it_rises():
    """Two run at a time, for 100 ns each: the third waits 100, and the fourth 150, or until it
    rises.
    """
    *_, third, fourth = requests = some_requests([3] * 4, [9] * 4)  # they hold 10 blocks of a token
    for rises_ns, leaves in ((NEVER, fourth), (120, fourth), (80, third)):
        memory = AliseMemory.of(
            EVICTIONS["swap"](COSTS), Capacity(2, None, 42), block=1, low=0.8, high=0.9
        )
        memory.resident, memory.held = dict.fromkeys(requests), dict.fromkeys(requests, 10)
        memory.estimate = Mock(
            **{"remaining_ns.return_value": 100, "wake.side_effect": [NEVER, rises_ns]}
        )
        memory.plan(requests, 0)
        assert list(memory.leaving) == [leaves]


def test_where_no_newcomer_may_start_others_come_back():
    newcomer, swapped_out = some_requests([3, 3], [5, 19])
    memory = FastServeMemory.of(EVICTIONS["swap"](COSTS), Capacity(1, None, 40), block=4, host=20)
    swapped_out.started, memory.swapped_out = True, {swapped_out}
    assert memory.ready_ns(newcomer, 0) == NEVER  # 19 of 20 tokens of host memory are taken
    assert list(memory.ready([newcomer, swapped_out], 0)) == [newcomer]  # now they are not
    assert list(memory.coming) == [swapped_out]


def two_where_one_fits(manager, tokens):
    """Two requests of ten prompt and four or three output tokens, one in a round of 10 ms; the
    second has to wait.
    """
    rows = [row("a", 10, [0] * 4, n=0), row("b", 10, [0] * 3, n=0)]
    costs = PROFILE.costs
    profile = replace(PROFILE, costs=replace(costs, rounds=dict.fromkeys((1, 2), costs.rounds[1])))
    work = workload(price(trace_from_rounds(rows), profile), [0, 0])
    seen = Occupancy()
    capacity = Capacity(2, None, tokens, manager=manager)
    run = simulate(work, FCFS(), context=context(work.priced), capacity=capacity, occupancy=seen)
    assert run.end_ns == 70 * MS
    return [x / 10 / MS for x in (seen.ns, seen.filled, seen.taken)]


@pytest.mark.parametrize(
    ("manager", "tokens", "taken"),
    [
        ("tokens", 20, 11 + 12 + 13 + 14),  # a round may add one
        ("reserve:output=oracle", 20, 4 * 15),
        ("reserve:output=pow2", 20, 4 * 15),
        ("reserve:output=max+context=18", 20, 4 * 19),
        ("paged:block=4", 16, 12 + 12 + 16 + 16),
        ("fastserve:block=4", 16, 12 + 12 + 16 + 16),
        ("alise:block=4+high=1.0+low=1.0", 16, 12 + 12 + 16 + 16),
    ],
)
def test_how_much_is_taken_and_how_much_of_it_is_filled_while_somebody_waits(
    manager, tokens, taken
):
    assert two_where_one_fits(manager, tokens) == [4, 10 + 11 + 12 + 13, taken]


@given(
    workloads(),
    st.sampled_from(
        ["tokens", "reserve:output=pow2", "paged:block=3", "fastserve:block=3", "alise"]
    ),
)
@settings(max_examples=30)
def test_no_more_is_filled_than_taken_and_no_more_taken_than_there_is(work, manager):
    tokens = int((work.priced.trace.prompt_tokens + work.priced.trace.output_tokens).max()) * 2 + 40
    seen = Occupancy()
    capacity = Capacity(3, None, tokens, manager=manager)
    watched = simulate(
        work, LPSRPT(), context=context(work.priced), capacity=capacity, occupancy=seen
    )
    assert 0 <= seen.filled <= seen.taken <= tokens * seen.ns
    assert seen.ns <= watched.end_ns - watched.idle_ns
    alone = simulate(work, LPSRPT(), context=context(work.priced), capacity=capacity)
    assert watched.finish_ns.tolist() == alone.finish_ns.tolist()
