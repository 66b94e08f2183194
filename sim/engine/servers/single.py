"""One request at a time, skipping ahead from decision to decision: one SimPy timeout until the
server is idle.

Batch size 1 and memory that does not run short meanwhile: the paper's setting, and the one that is
swept. Must give what `step` gives, to the nanosecond, for every policy that keeps the promise of
its `run_until`.
"""

from bisect import bisect_left
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from lapsd.policies import NEVER, Rank
from lapsd.policies.decision import rank_of
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.servers.skip import WAITING_ORDER, SkipServer


@dataclass(eq=False)
class SingleServer(SkipServer):
    """One server of batch size 1."""

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a stretch of rounds, commit
        it.
        """
        policy, run_record, waiting, arrivals = (
            self.policy,
            self.run_record,
            self.waiting,
            self._arrivals,
        )
        heap, timeout = waiting.heap, self.env.timeout
        memory = self.memory if self.memory.limited else None
        wakes, check = waiting.wakes, self.check
        request: Request | None = None
        now = clock = 0  # the latter is SimPy's
        while True:
            if request is None:
                if not heap:
                    if run_record.done == run_record.requests:
                        break
                    run_record.idle_ns += arrivals[self.arrived] - now
                    yield timeout(arrivals[self.arrived] - clock)
                    now = clock = arrivals[self.arrived]
                    self._take_in(None, now)
                request = waiting.pop()
            request.running, alone = True, (request,)
            start, coming_ns = now, arrivals[self.arrived]
            if memory is not None:
                start += memory.make_room(alone, alone, WAITING_ORDER, now)
            if not request.started:
                start += self._prefill(alone, start, self._costs)
                request.first_token_ns = start + request.recorded.service_ns[1]
            recorded = request.recorded
            totals, whole, done = recorded.service_ns, recorded.rounds, request.rounds
            while True:
                rounds, service_ns, tokens, rising, _ = policy.run_until(
                    request, heap[0][0] if heap else None, now
                )
                end = rounds if rounds < whole else whole
                if service_ns <= totals[end]:
                    end = bisect_left(totals, service_ns, 0, end)
                if tokens < NEVER and tokens <= recorded.tokens[end]:
                    end = bisect_left(recorded.tokens, tokens, 0, end)
                if end <= done:  # a round is always served
                    end = done + 1
                last, origin = end, start - totals[done]
                if coming_ns < origin + totals[end] or wakes:
                    end = self._limit_by_events(request, last, rising, origin, now)
                    coming_ns = arrivals[self.arrived]
                request.rounds = done = end
                request.tokens = recorded.tokens[end]
                request.service_ns = service_ns = totals[end]
                now = start = origin + service_ns
                if end == whole:
                    run_record.rounds += end
                    self._complete(request, now)
                    request = None
                    if arrivals[self.arrived] <= now or wakes or check:
                        self._take_in(None, now)
                    break
                if end == last:
                    queue = request.queue
                    policy.on_round(request, now)
                    if request.queue != queue:
                        request.entered_ns = now
                if coming_ns <= now or wakes or check:
                    self._take_in(request, now)
                    coming_ns = arrivals[self.arrived]
                if heap and heap[0][0] < rank_of(policy, request, now):
                    request.running = False
                    request.preemptions += 1
                    # its rank is no lower now: behind whoever is first, who is next
                    request = waiting.swap(request, rank_of(policy, request, now), now)
                    break
        yield timeout(now - clock)

    def _take_in(self, served: Request | None, now_ns: int) -> None:
        """Arrivals up to now wait, and ranks that fall have fallen."""
        self._admit(now_ns)
        self.waiting.wake(now_ns)
        if self.check:
            self._check(served, now_ns)

    def _limit_by_events(
        self, request: Request, last: int, rising: bool, origin: int, now_ns: int
    ) -> int:
        """Rounds committed when a decision is needed, at most `last`; takes in who changes nothing
        on the way.

        The rounds committed at a time t are those whose total service is t − `origin`.
        """
        arrivals, waiting, totals = self._arrivals, self.waiting, request.recorded.service_ns
        heap, first, end = waiting.heap, request.rounds + 1, last
        if self._watched or waiting.wakes:
            at_ns = min(arrivals[self.arrived], waiting.next_wake)
            return bisect_left(totals, at_ns - origin, first, last)
        ceiling: Rank | None = None  # what the served one's rank does not exceed
        while (at_ns := arrivals[self.arrived]) < origin + totals[end]:
            newcomer = self._arrive(at_ns)
            if waiting.wakes:  # its rank will fall
                end = bisect_left(totals, waiting.next_wake - origin, first, end)
            # only who comes before all others, and before the served one, matters
            if heap[0][3] is newcomer:
                if ceiling is None and not rising:
                    ceiling = rank_of(self.policy, request, now_ns)
                if rising or heap[0][0] < ceiling:  # type: ignore[operator]
                    end = bisect_left(totals, at_ns - origin, first, end)
        return end

    def _check(self, served: Request | None, now_ns: int) -> None:
        """Every invariant that must hold between stretches."""
        there = self.waiting.everyone() + ([served] if served else [])
        resident = self.memory.resident
        assert self.arrived == self.run_record.done + len(there), "a request is lost or doubled"
        assert len({r.index for r in there}) == len(there)
        assert self.memory.fits([], list(resident))
        assert served is None or not self.memory.limited or served in resident
        assert now_ns >= self.env.now
        for request in there:
            recorded = request.recorded
            assert request.arrival_ns <= now_ns
            assert request.running == (request is served)
            assert not request.done
            assert request.service_ns == recorded.service_ns[request.rounds]
            assert request.tokens == recorded.tokens[request.rounds]
            if self.memory.limited:
                assert request.started or request not in resident
            if request is not served:
                assert request.waiting_entry[0] == rank_of(self.policy, request, now_ns), (
                    "a waiting rank has changed unseen"
                )
