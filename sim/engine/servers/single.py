"""One request at a time, skipping ahead: one SimPy timeout for all rounds that a request is served without a break.

Batch size 1 and memory that does not run short meanwhile: the paper's setting, and the one that is swept. Must give
what `step` gives, to the nanosecond, for every policy that keeps the promise of its `run_until`.
"""

from bisect import bisect_left
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from policies import Rank
from policies.decision import rank_of
from sim.engine.request import Request
from sim.engine.servers.skip import WAITING_ORDER, SkipServer


@dataclass(eq=False)
class SingleServer(SkipServer):
    """One server of batch size 1."""

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a stretch of rounds, commit it."""
        policy, run_record, waiting, arrivals = self.policy, self.run_record, self.waiting, self._arrivals
        heap, timeout, count = waiting.heap, self.env.timeout, run_record.requests
        request: Request | None = None
        now = turn_ns = 0
        while run_record.done < count:
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
                    run_record.idle_ns += gap
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
                run_record.rounds += end
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
        """Nanoseconds until the chosen request can run its next round: moves, prefill."""
        request.running = True
        spent, alone = 0, (request,)
        if self.memory.limited:
            _, spent = self.memory.make_room(alone, alone, WAITING_ORDER, now_ns)
        if not request.started:
            spent += self._prefill(alone, now_ns + spent, self._costs)
        return spent

    def _preempt(self, request: Request, rank: Rank, now_ns: int) -> None:
        request.running = False
        request.preemptions += 1
        self.waiting.push(request, rank, now_ns)

    def _check(self, served: Request | None, now_ns: int) -> None:
        """Every invariant that must hold between stretches."""
        there = self.waiting.everyone() + ([served] if served else [])
        holders, outside = self.memory.holders, self.memory.outside
        assert self.arrived == self.run_record.done + len(there), "a request is lost or doubled"
        assert len({r.index for r in there}) == len(there)
        assert self.memory.fits([], list(holders))
        assert served is None or not self.memory.limited or served in holders
        assert now_ns >= self.env.now
        for request in there:
            recorded = request.recorded
            assert request.arrival_ns <= now_ns
            assert request.running == (request is served)
            assert not request.done
            assert request.service_ns == recorded.service_ns[request.rounds]
            assert request.tokens == recorded.tokens[request.rounds]
            if self.memory.limited:
                assert (request in holders, not request.started, request in outside).count(True) == 1
            if request is not served:
                assert request.waiting_entry[0] == rank_of(self.policy, request, now_ns), (
                    "a waiting rank has changed unseen"
                )
