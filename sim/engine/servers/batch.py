"""Batches, skipping ahead: one SimPy timeout for all rounds that the same requests run together.

Any batch size, and any memory that foresees how long it lasts. Must give what `step` gives, to the nanosecond, for
every policy that keeps the promise of its `run_until`.
"""

from bisect import insort
from collections.abc import Generator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import simpy

from policies import Rank
from policies.decision import rank_of
from sim.engine.request import Request
from sim.engine.servers.running_batch import RunningBatch, Seat
from sim.engine.servers.skip import WAITING_ORDER, SkipServer

by_index = attrgetter("index")


@dataclass(eq=False)
class BatchServer(SkipServer):
    """One server of any capacity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        profile = self.workload.priced.profile
        self.batch = RunningBatch([profile.round_cost(b) for b in range(1, self.capacity.batch + 1)])
        self._one_round = False
        self.busy_ns = 0

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a stretch of rounds, commit it."""
        run_record, waiting, batch, memory = self.run_record, self.waiting, self.batch, self.memory
        timeout, arrivals, heap, seats = self.env.timeout, self._arrivals, self.waiting.heap, self.batch.seats
        limited, grows = memory.limited, memory.grows
        now = pending_ns = 0
        while run_record.done < run_record.requests:
            if arrivals[self.arrived] <= now:
                self._admit(now)
            if waiting.wakes:
                waiting.wake(now)
            if self.check:
                self._check(now)
            if not heap and not seats:
                gap = arrivals[self.arrived] - now
                run_record.idle_ns += gap
                yield timeout(gap)
                now += gap
                continue
            fresh = self._choose(now) if heap or grows else []
            start = now
            if limited and (fresh or grows):
                start += memory.make_room([seat.request for seat in seats], fresh, WAITING_ORDER, now)
            if fresh:
                if pending_ns:
                    yield timeout(pending_ns)
                    pending_ns = 0
                if starting := [r for r in fresh if not r.started]:
                    start += self._prefill(starting, start, self._costs)
            if batch.to_ask:
                self._ask(now)
            rounds, stretch_ns = self._stretch(now, start)
            run_record.rounds += rounds
            pending_ns += start + stretch_ns - now
            self.busy_ns += start + stretch_ns - now
            now = start + stretch_ns
            if (reached := batch.advance(rounds, stretch_ns)) and self._commit(reached, now):
                yield timeout(pending_ns)
                pending_ns = 0

    def _state_changed(self, now_ns: int) -> None:
        super()._state_changed(now_ns)
        for seat in self.batch.seats:
            self.batch.settle(seat)
            self.batch.ask(seat)

    def _choose(self, now_ns: int) -> list[Request]:
        """Seat the next round's requests; returns those who did not sit there before, in order."""
        if self.memory.grows:
            return self._choose_what_fits(now_ns)
        heap, seats, fresh = self.waiting.heap, self.batch.seats, []
        while heap and len(seats) < self.capacity.batch:
            fresh.append(self._sit_down())
        if heap:
            self._displace(fresh, now_ns)
        return fresh

    def _displace(self, fresh: list[Request], now_ns: int) -> None:
        """Those who wait take the seats of those whose rank is strictly higher, the worst first."""
        heap, batch = self.waiting.heap, self.batch
        best, sat = heap[0][0], batch.seats[: len(batch.seats) - len(fresh)]
        suspects: list[tuple[Rank, int, int, bool, Seat]] = []  # True: that is its rank now, and no older ceiling
        for seat in [seat for seat in sat if (ceiling := seat.ceiling) is None or best < ceiling]:
            rank, request = seat.ceiling, seat.request
            known = rank is None or seat.rising
            if rank is None or known:
                rank = rank_of(self.policy, batch.settle(seat), now_ns)
                if seat.rising:
                    batch.ask(seat)
                else:
                    seat.ceiling = rank
            if best < rank:
                suspects.append((rank, request.entered_ns, request.index, known, seat))
        suspects.sort()
        while suspects and heap[0][0] < suspects[-1][0]:
            rank, entered_ns, index, known, seat = suspects.pop()
            if not known:
                seat.ceiling = rank = rank_of(self.policy, batch.settle(seat), now_ns)
                insort(suspects, (rank, entered_ns, index, True, seat))  # it may have fallen behind another
            else:
                fresh.append(self._sit_down())
                self._send_away(seat, now_ns)

    def _choose_what_fits(self, now_ns: int) -> list[Request]:
        """Where memory may run short, everyone in order as long as they fit, none passed over."""
        heap, batch, kept = self.waiting.heap, self.batch, 0
        fresh: list[Request] = []
        chosen: list[Request] = []
        settled = [(batch.settle(seat), seat) for seat in batch.seats]
        seated = [(rank_of(self.policy, r, now_ns), r.entered_ns, r.index, seat) for r, seat in settled]
        seated.sort()
        while len(chosen) < self.capacity.batch and (heap or kept < len(seated)):
            stays = kept < len(seated) and not (heap and heap[0][0] < seated[kept][0])
            chosen.append(seated[kept][3].request if stays else heap[0][3])
            if not self.memory.fits(chosen):
                break
            if stays:
                kept += 1
            else:
                fresh.append(self._sit_down())
        # who loses a seat is first now, as who ran goes before equals, but may not be so at the next boundary
        self._one_round = kept < len(seated)
        for *_, seat in seated[kept:]:
            self._send_away(seat, now_ns)
        for seat in batch.seats:
            batch.ask(seat)
        return fresh

    def _sit_down(self) -> Request:
        request = self.waiting.pop()
        request.running = True
        self.batch.sit(request)
        return request

    def _send_away(self, seat: Seat, now_ns: int) -> None:
        request = seat.request
        self.batch.leave(seat)
        request.running = False
        request.preemptions += 1
        self.waiting.push(request, rank_of(self.policy, request, now_ns), now_ns)  # as one that waits

    def _ask(self, now_ns: int) -> None:
        """Ask the policy how long those may run of whom that is not known; they are settled."""
        batch, heap = self.batch, self.waiting.heap
        best = heap[0][0] if heap else None
        for seat in batch.to_ask:
            if not seat.until_round:
                batch.run_until(seat, self.policy.run_until(seat.request, best, now_ns), best)
        batch.to_ask.clear()

    def _commit(self, reached: list[Seat], now_ns: int) -> bool:
        """Those whose stretch is over learn, or leave; whether any left."""
        done = []
        for seat in reached:
            request = seat.request
            if request.done:
                self.batch.leave(seat)
                done.append(request)
                continue
            queue = request.queue
            self.policy.learn(request, now_ns)
            if request.queue != queue:
                request.entered_ns = now_ns
        done.sort(key=by_index)
        for request in done:
            self._complete(request, now_ns)
        return bool(done)

    def _stretch(self, now_ns: int, start_ns: int) -> tuple[int, int]:
        """Rounds until the next decision, and the time they take; takes in events that change nothing on the way."""
        batch, waiting, heap = self.batch, self.waiting, self.waiting.heap
        most, within = batch.limits()
        if self._one_round:
            most = 1
        elif self.memory.grows:
            most = self.memory.lasts([seat.request for seat in batch.seats], most)
        arrivals, free = self._arrivals, len(batch.seats) < self.capacity.batch
        first = heap[0][3] if heap else None
        decides = self._watched or (free and not heap)  # whoever comes: is seated, or may change the policy's state
        while True:
            at_ns = min(arrivals[self.arrived], waiting.next_wake) if waiting.wakes else arrivals[self.arrived]
            until_ns = at_ns - start_ns
            rounds, stretch_ns = batch.up_to(most, within if within < until_ns else until_ns)
            if decides or (until_ns >= stretch_ns and (rounds == most or stretch_ns >= within)):
                return rounds, stretch_ns
            if waiting.wakes and waiting.next_wake == at_ns:
                waiting.wake(at_ns)
            else:
                self._arrive(at_ns)
            # a seat is free only for want of memory: whoever is first now may fit
            if (free and heap[0][3] is not first) or self._matters(heap[0][0], now_ns):
                return rounds, stretch_ns

    def _matters(self, rank: Rank, now_ns: int) -> bool:
        """Whether a waiting request of that rank may take a seat before the stretch is over."""
        for seat in self.batch.seats:
            if seat.ceiling is None:
                if seat.rising:
                    return True
                seat.ceiling = rank_of(self.policy, self.batch.settle(seat), now_ns)
            if rank < seat.ceiling:
                return True
        return False

    def _check(self, now_ns: int) -> None:
        """Every invariant that must hold between stretches."""
        seated = [self.batch.settle(seat) for seat in self.batch.seats]
        waiting, memory = self.waiting.everyone(), self.memory
        there = seated + waiting
        assert self.arrived == self.run_record.done + len(there), "a request is lost or doubled"
        assert len({r.index for r in there}) == len(there)
        assert len(seated) <= self.capacity.batch
        assert self.busy_ns + self.run_record.idle_ns == now_ns >= self.env.now, "the server's time does not add up"
        if memory.limited:
            assert memory.fits([], list(memory.holders))
            for r in there:
                assert (r in memory.holders) if r.running and r.rounds else (r.started or r not in memory.holders)
        for request in there:
            assert request.arrival_ns <= now_ns
            assert request.running == (request in seated)
            assert not request.done
            assert request.tokens == request.recorded.tokens[request.rounds]
            assert request.started or not request.rounds
        for request in waiting:
            assert request.waiting_entry[0] == rank_of(self.policy, request, now_ns), (
                "a waiting rank has changed unseen"
            )
