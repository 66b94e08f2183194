"""One request at a time, skipping ahead: one SimPy timeout for all rounds that a request is served without a break.

Batch size 1 and no limit on KV tokens: the paper's setting, and the one that is swept. Must give what `step` gives,
to the nanosecond, for every policy that keeps the promise of its `run_until`.
"""

from bisect import bisect_left
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from sim.engine.ranks import rank_of
from sim.engine.request import Request
from sim.engine.skip import SkipServer


@dataclass(eq=False)
class SingleServer(SkipServer):
    """One server of batch size 1."""

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a stretch of rounds, commit it."""
        policy, books, waiting, arrivals = self.policy, self.books, self.waiting, self._arrivals
        heap, timeout, count = waiting.heap, self.env.timeout, books.requests
        request: Request | None = None
        now = turn_ns = 0
        while books.done < count:
            if arrivals[self.arrived] <= now:
                self._admit(now)
            if waiting.wakes:
                waiting.wake(now)
            if self.check:
                self._check(request, now)
            before = 0
            if request is None:
                if not heap:
                    gap = arrivals[self.arrived] - now
                    books.idle_ns += gap
                    now += gap
                    yield timeout(gap)
                    continue
                request = waiting.pop()
                before = self._start(request, now)
            elif heap and heap[0][0] < (rank := rank_of(policy, request, now)):
                yield timeout(turn_ns)
                turn_ns = 0
                rival = waiting.pop()
                self._preempt(request, rank, now)
                request = rival
                before = self._start(request, now)

            recorded, done = request.recorded, request.rounds
            totals = recorded.service_ns
            rounds, service_ns, tokens, rising = policy.run_until(request, heap[0][0] if heap else None, now)
            last = len(totals) - 1
            if rounds < last:
                last = rounds
            if service_ns <= totals[last]:
                last = bisect_left(totals, service_ns, 0, last)
            if tokens <= recorded.tokens[last]:
                last = bisect_left(recorded.tokens, tokens, 0, last)
            if last <= done:  # a round is always served
                last = done + 1
            end, origin = last, now + before - totals[done]
            if arrivals[self.arrived] < origin + totals[last] or waiting.wakes:
                end = self._limit_by_events(request, last, rising, origin, now)
            spent = before + totals[end] - totals[done]
            now += spent
            turn_ns += spent

            request.rounds, request.tokens, request.service_ns = end, recorded.tokens[end], totals[end]
            if end == len(totals) - 1:
                yield timeout(turn_ns)
                turn_ns = 0
                books.rounds += end
                self._complete(request, now)
                request = None
            elif end == last:
                queue = request.queue
                policy.learn(request, now)
                if request.queue != queue:
                    request.entered_ns = now

    def _limit_by_events(self, request: Request, last: int, rising: bool, origin: int, now_ns: int) -> int:
        """Rounds committed when a decision is needed, at most `last`; takes in who changes nothing on the way.

        The rounds committed at a time t are those whose total service is t − `origin`.
        """
        arrivals, waiting, totals = self._arrivals, self.waiting, request.recorded.service_ns
        heap, first, end = waiting.heap, request.rounds + 1, last
        if self._watched or waiting.wakes:
            at_ns = min(arrivals[self.arrived], waiting.next_wake)
            return bisect_left(totals, at_ns - origin, first, last)
        while (at_ns := arrivals[self.arrived]) < origin + totals[end]:
            newcomer = self._arrive()
            waiting.push(newcomer, rank_of(self.policy, newcomer, at_ns), at_ns)
            if waiting.wakes:  # its rank will fall
                end = bisect_left(totals, waiting.next_wake - origin, first, end)
            # only who comes before all others, and before the rank that the served one does not exceed, matters
            if heap[0][3] is newcomer and (rising or heap[0][0] < rank_of(self.policy, request, now_ns)):
                end = bisect_left(totals, at_ns - origin, first, end)
        return end

    def _start(self, request: Request, now_ns: int) -> int:
        """Nanoseconds until the chosen request can run its next round: eviction, return, prefill."""
        spent = 0
        capacity = self.capacity
        if (slots := capacity.kv_slots) is not None:
            if request.started and not request.away:
                self.parked.remove(request)
            if len(self.parked) == slots:
                victim = max(self.parked, key=lambda r: r.place[:3]) if slots > 1 else self.parked[0]
                self.parked.remove(victim)
                moved = self._evict_ns(victim.kv_tokens)
                victim.switch_ns += moved
                victim.away = True
                spent += moved
        if request.away:
            moved = self._return_ns(request.kv_tokens)
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
        assert now_ns >= self.env.now
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
