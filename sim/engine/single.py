"""One request at a time, skipping ahead: one SimPy timeout for all rounds up to the next decision that can matter.

Batch size 1 and no limit on KV tokens: the paper's setting, and the one that is swept. Must give what `step` gives,
to the nanosecond, for every policy that keeps the promise of its `run_until`.
"""

from bisect import bisect_left
from collections.abc import Generator
from typing import Any

import simpy

from policies import NEVER, Event, Policy
from sim.engine.books import Books
from sim.engine.capacity import Capacity
from sim.engine.ranks import Waiting, rank_of
from sim.engine.request import Recorded, Request
from traces import Profile


class SingleServer:
    """One server of batch size 1."""

    def __init__(
        self,
        env: simpy.Environment,
        arrivals: list[int],
        predicted: list[int],
        recorded: list[Recorded],
        profile: Profile,
        policy: Policy,
        capacity: Capacity,
        books: Books,
        check: bool = False,
    ) -> None:
        self.env, self.policy, self.capacity, self.books, self.check = env, policy, capacity, books, check
        self._arrivals, self._predicted, self._recorded = [*arrivals, NEVER], predicted, recorded
        self._costs = profile.costs
        self._watched = type(policy).observe is not Policy.observe
        self.waiting = Waiting(policy)
        self.parked: list[Request] = []  # those of them whose KV cache is in memory, where that is limited
        self.arrived = 0
        self.busy_ns = 0

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a stretch of rounds, commit it."""
        env, books, waiting, policy = self.env, self.books, self.waiting, self.policy
        request: Request | None = None
        while books.done < books.requests:
            now = int(env.now)
            self._admit(now)
            if waiting.wakes:
                waiting.wake(now)
            if self.check:
                self._check(request, now)
            before = 0
            if request is None:
                if not waiting:
                    gap = self._arrivals[self.arrived] - now
                    books.idle_ns += gap
                    yield env.timeout(gap)
                    continue
                request = waiting.pop()
                before = self._start(request, now)
            elif waiting:
                rank = rank_of(policy, request, now)
                if waiting.first_rank < rank:
                    rival = waiting.pop()
                    self._preempt(request, rank, now)
                    request = rival
                    before = self._start(request, now)
            rounds, learns, stretch_ns = self._stretch(request, now, now + before)
            self.busy_ns += before + stretch_ns
            yield env.timeout(before + stretch_ns)
            now += before + stretch_ns
            recorded = request.recorded
            request.rounds, request.tokens = rounds, recorded.tokens[rounds]
            request.service_ns = recorded.service_ns[rounds]
            if rounds == len(recorded.round_ns):
                books.close(request, now)
                if self._watched and policy.observe(Event("completion", request, now)):
                    waiting.rank_again(now)
                request = None
            elif learns:
                queue = request.queue
                policy.learn(request, now)
                if request.queue != queue:
                    request.entered_ns = now

    def _admit(self, now_ns: int) -> None:
        """Arrivals up to now wait."""
        while self._arrivals[self.arrived] <= now_ns:
            request = self._arrive()
            if self._watched:
                # it ranks as the policy's state is once it has come, and so may everybody
                again = self.policy.observe(Event("arrival", request, now_ns))
                self.waiting.push(request, rank_of(self.policy, request, now_ns), now_ns)
                if again:
                    self.waiting.rank_again(now_ns)
            else:
                self.waiting.push(request, rank_of(self.policy, request, now_ns), now_ns)

    def _arrive(self) -> Request:
        index = self.arrived
        arrival_ns = self._arrivals[index]
        request = Request(index, arrival_ns, self._predicted[index], self._recorded[index])
        request.entered_ns = arrival_ns
        self.arrived += 1
        return request

    def _stretch(self, request: Request, now_ns: int, start_ns: int) -> tuple[int, bool, int]:
        """(rounds committed after it, whether the policy then learns, ns) of the rounds until the next decision."""
        waiting, totals, tokens = self.waiting, request.recorded.service_ns, request.recorded.tokens
        best = waiting.best()
        rounds, service_ns, emitted, rising = self.policy.run_until(request, best, now_ns)
        last = min(rounds, len(totals) - 1)
        if service_ns <= totals[last]:
            last = bisect_left(totals, service_ns, 0, last)
        if emitted <= tokens[last]:
            last = bisect_left(tokens, emitted, 0, last)
        done = request.rounds
        last = max(last, done + 1)  # a round is always served
        origin = start_ns - totals[done]
        end = last

        def cut(at_ns: int) -> int:
            """The first round boundary from then on."""
            return min(end, bisect_left(totals, at_ns - origin, done + 1))

        if self._watched:
            end = cut(min(self._arrivals[self.arrived], waiting.next_wake))
            return end, end == last, totals[end] - totals[done]
        ceiling = best if rising else None
        while (at_ns := min(self._arrivals[self.arrived], waiting.next_wake)) < origin + totals[end]:
            # events that change nothing before the end are taken in on the way
            if waiting.next_wake == at_ns:
                waiting.wake(at_ns)
            else:
                newcomer = self._arrive()
                waiting.push(newcomer, rank_of(self.policy, newcomer, at_ns), at_ns)
            if ceiling is None and not rising:
                ceiling = rank_of(self.policy, request, now_ns)
            if ceiling is None or waiting.first_rank < ceiling:
                end = cut(at_ns)
        return end, end == last, totals[end] - totals[done]

    def _start(self, request: Request, now_ns: int) -> int:
        """Nanoseconds until the chosen request can run its next round: eviction, return, prefill."""
        spent = 0
        capacity = self.capacity
        if capacity.kv_slots is not None:
            if request in self.parked:
                self.parked.remove(request)
            if not capacity.fits(len(self.parked) + 1, 0):
                victim = max(self.parked, key=lambda r: r.place[:3])
                self.parked.remove(victim)
                moved = capacity.eviction_ns(self._costs, victim.kv_tokens)
                victim.switch_ns += moved
                victim.away = True
                spent += moved
        if request.away:
            moved = capacity.return_ns(self._costs, request.kv_tokens)
            request.switch_ns += moved
            request.away = False
            spent += moved
        if not request.started:
            request.started = True
            request.first_service_ns = now_ns + spent
            request.prefill_spent_ns = request.recorded.prefill_ns
            spent += request.prefill_spent_ns
        request.running = True
        return spent

    def _preempt(self, request: Request, rank: Any, now_ns: int) -> None:
        request.running = False
        request.preemptions += 1
        self.waiting.push(request, rank, now_ns)
        if self.capacity.kv_slots is not None:
            self.parked.append(request)

    def _check(self, served: Request | None, now_ns: int) -> None:
        """Every invariant that must hold between stretches."""
        there = self.waiting.everyone() + ([served] if served else [])
        assert self.arrived == self.books.done + len(there), "a request is lost or doubled"
        assert len({r.index for r in there}) == len(there)
        assert self.capacity.fits(len(self.parked) + (served is not None), 0)
        assert self.busy_ns + self.books.idle_ns == now_ns == self.env.now, "the server's time does not add up"
        for request in there:
            recorded = request.recorded
            assert request.arrival_ns <= now_ns
            assert request.running == (request is served)
            assert not request.done
            assert request.service_ns == recorded.service_ns[request.rounds]
            assert request.tokens == recorded.tokens[request.rounds]
            assert not request.away or (request.started and request not in self.parked)
            if request is not served:
                assert request.place[0] == rank_of(self.policy, request, now_ns), "a waiting rank has changed unseen"
