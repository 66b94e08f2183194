"""Batches, skipping ahead: one SimPy timeout for all rounds that the same requests run together.

Any batch size and memory. Must give what `step` gives, to the nanosecond, for every policy that keeps the promise of
its `run_until`.
"""

from bisect import insort
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from policies import Rank
from sim.engine.ranks import rank_of
from sim.engine.request import Request
from sim.engine.seats import Seats
from sim.engine.skip import SkipServer


@dataclass(eq=False)
class BatchServer(SkipServer):
    """One server of any capacity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        capacity, profile = self.capacity, self.profile
        self.seats = Seats([profile.round_cost(b) for b in range(1, capacity.batch + 1)])
        self._costs = profile.costs
        self._tight = capacity.kv_tokens is not None
        self._limited = capacity.kv_slots is not None or self._tight
        self._one_round = False
        self.busy_ns = 0

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a stretch of rounds, commit it."""
        env, books, waiting, seats = self.env, self.books, self.waiting, self.seats
        now = pending_ns = 0
        while books.done < books.requests:
            if self._arrivals[self.arrived] <= now:
                self._admit(now)
            if waiting.wakes:
                waiting.wake(now)
            if self.check:
                self._check(now)
            if not waiting.heap and not seats.requests:
                gap = self._arrivals[self.arrived] - now
                books.idle_ns += gap
                yield env.timeout(gap)
                now += gap
                continue
            fresh = self._choose(now) if waiting.heap or self._tight else []
            if fresh and pending_ns:
                yield env.timeout(pending_ns)
                pending_ns = 0
            before = 0
            if self._limited:
                before += self._make_room()
            if fresh:
                if self._limited:
                    before += self._bring_in(fresh)
                before += self._prefill(fresh, now + before)
            if seats.to_ask:
                self._ask(now)
            rounds, stretch_ns = self._stretch(now, now + before)
            self.busy_ns += before + stretch_ns
            pending_ns += before + stretch_ns
            now += before + stretch_ns
            books.rounds = seats.rounds = seats.rounds + rounds
            seats.service_ns += stretch_ns
            if self._commit(now):
                yield env.timeout(pending_ns)
                pending_ns = 0

    def _state_changed(self, now_ns: int) -> None:
        super()._state_changed(now_ns)
        for request in self.seats.requests:
            self.seats.ask(self.seats.settle(request))

    def _choose(self, now_ns: int) -> list[Request]:
        """Seat the next round's requests; returns those who did not sit there before, in order."""
        if self.capacity.kv_tokens is not None:
            return self._choose_what_fits(now_ns)
        heap, seats, fresh = self.waiting.heap, self.seats, []
        while heap and len(seats.requests) < self.capacity.batch:
            fresh.append(self._sit_down())
        if not heap:
            return fresh
        self._displace(fresh, now_ns)
        return fresh

    def _displace(self, fresh: list[Request], now_ns: int) -> None:
        """Those who wait take the seats of those whose rank is strictly higher, the worst first."""
        heap, seats, suspects = self.waiting.heap, self.seats, []
        for request in seats.requests[: len(seats.requests) - len(fresh)]:
            bound = request.ceiling
            if bound is None or (request.rising and heap[0][0] < bound):
                bound = rank_of(self.policy, seats.settle(request), now_ns)
                if request.rising:
                    seats.ask(request)
                else:
                    request.ceiling = bound
            if heap[0][0] < bound:
                suspects.append((bound, request.entered_ns, request.index, request))
        suspects.sort()
        while suspects and heap[0][0] < suspects[-1][0]:
            _, entered_ns, index, request = suspects.pop()
            rank = rank_of(self.policy, seats.settle(request), now_ns)
            if suspects and (rank, entered_ns, index) < suspects[-1][:3]:
                insort(suspects, (rank, entered_ns, index, request))  # its rank has fallen: another may be the last
            elif heap[0][0] < rank:
                fresh.append(self._sit_down())
                self._send_away(request, rank, now_ns)
                continue
            if not request.rising:
                request.ceiling = rank

    def _choose_what_fits(self, now_ns: int) -> list[Request]:
        """With a limit on tokens, everyone in order as long as they fit, none passed over."""
        heap, seats, tokens, kept = self.waiting.heap, self.seats, 0, 0
        fresh: list[Request] = []
        requests = [seats.settle(r) for r in seats.requests]
        seated = [(rank_of(self.policy, r, now_ns), r.entered_ns, r.index, r) for r in requests]
        seated.sort()
        while kept + len(fresh) < self.capacity.batch and (heap or kept < len(seated)):
            stays = kept < len(seated) and not (heap and heap[0][0] < seated[kept][0])
            request = seated[kept][3] if stays else heap[0][3]
            tokens += request.kv_needed
            if not self.capacity.fits(0, tokens):
                break
            if stays:
                kept += 1
            else:
                fresh.append(self._sit_down())
        # who loses a seat is first now, as who ran goes before equals, but may not be so at the next boundary
        self._one_round = kept < len(seated)
        for rank, _, _, request in seated[kept:]:
            self._send_away(request, rank, now_ns)
        for request in seats.requests:
            seats.ask(request)
        return fresh

    def _sit_down(self) -> Request:
        request = self.waiting.pop()
        request.running = True
        self.seats.sit(request)
        return request

    def _send_away(self, request: Request, rank: Rank, now_ns: int) -> None:
        self.seats.leave(request)
        request.running = False
        request.preemptions += 1
        self.waiting.push(request, rank, now_ns)
        if self._limited:
            self.parked.append(request)

    def _make_room(self) -> int:
        """Nanoseconds to evict waiting caches, the last in order first, until the running ones have room."""
        spent = 0
        self.parked = [r for r in self.parked if r.place is not None]
        while self.parked and not self._room():
            victim = max(self.parked, key=lambda r: r.place[:3])
            self.parked.remove(victim)
            moved = self._evict_ns(victim.kv_tokens)
            victim.switch_ns += moved
            victim.away = True
            spent += moved
        return spent

    def _room(self) -> bool:
        caches, seats = len(self.seats.requests) + len(self.parked), self.seats
        if self.capacity.kv_tokens is None:
            return self.capacity.fits(caches, 0)
        held = sum(seats.settle(r).kv_needed for r in seats.requests) + sum(r.kv_tokens for r in self.parked)
        return self.capacity.fits(caches, held)

    def _bring_in(self, fresh: list[Request]) -> int:
        """Nanoseconds until every newly chosen request that was evicted has its KV cache in memory again."""
        spent = 0
        for request in fresh:
            if request.away:
                moved = self._return_ns(request.kv_tokens)
                request.switch_ns += moved
                request.away = False
                spent += moved
        return spent

    def _prefill(self, fresh: list[Request], start_ns: int) -> int:
        """Nanoseconds of prefill, due before a request's first round."""
        new = [r for r in fresh if not r.started]
        together = 0
        if self.capacity.prefill == "batched":
            cached = sum(max(0, r.prompt_tokens - 1) for r in new)
            together = self._costs.prefill(cached) if cached else 0
        spent = 0
        for request in new:
            request.started = True
            request.first_service_ns = start_ns + spent
            request.prefill_spent_ns = together or request.recorded.prefill_ns
            spent += 0 if together else request.recorded.prefill_ns
        return spent + together

    def _ask(self, now_ns: int) -> None:
        """Ask the policy how long those may run of whom that is not known; they are settled."""
        seats, heap = self.seats, self.waiting.heap
        best = heap[0][0] if heap else None
        for request in seats.to_ask:
            if request.running and not request.until_round:
                rounds, service_ns, tokens, request.rising = self.policy.run_until(request, best, now_ns)
                seats.run_until(request, rounds, service_ns, tokens)
                if request.rising:
                    request.ceiling = best
        seats.to_ask.clear()

    def _commit(self, now_ns: int) -> bool:
        """Those whose stretch is over learn, or leave; whether any left."""
        seats, done = self.seats, []
        while (request := seats.reached()) is not None:
            if request.done:
                seats.leave(request)
                done.append(request)
                continue
            seats.ask(request)
            queue = request.queue
            self.policy.learn(request, now_ns)
            if request.queue != queue:
                request.entered_ns = now_ns
        done.sort(key=lambda r: r.index)
        for request in done:
            self._complete(request, now_ns)
        return bool(done)

    def _stretch(self, now_ns: int, start_ns: int) -> tuple[int, int]:
        """Rounds until the next decision, and the time they take; takes in events that change nothing on the way."""
        seats, waiting, heap = self.seats, self.waiting, self.waiting.heap
        most, within = seats.limits()
        if self._one_round:
            most = 1
        free = None
        if self.capacity.kv_tokens is not None:
            free = self.capacity.kv_tokens - sum(r.kv_tokens for r in self.parked)
        if self._watched or (not heap and len(seats.requests) < self.capacity.batch):
            # whatever comes is seated, or may change the policy's state
            return seats.up_to(most, min(within, self._next_event_ns() - start_ns), free)
        rounds, stretch_ns = seats.up_to(most, within, free)
        first = heap[0][3] if heap else None
        while (at_ns := self._next_event_ns()) < start_ns + stretch_ns:
            if waiting.next_wake == at_ns:
                waiting.wake(at_ns)
            else:
                newcomer = self._arrive()
                waiting.push(newcomer, rank_of(self.policy, newcomer, at_ns), at_ns)
            # a seat is free only for want of memory: whoever is first now may fit
            may_sit = len(seats.requests) < self.capacity.batch and heap[0][3] is not first
            if may_sit or self._matters(heap[0][0], now_ns):
                rounds, stretch_ns = seats.up_to(rounds, at_ns - start_ns, free)
        return rounds, stretch_ns

    def _next_event_ns(self) -> int:
        arrival_ns = self._arrivals[self.arrived]
        return min(arrival_ns, self.waiting.next_wake) if self.waiting.wakes else arrival_ns

    def _matters(self, rank: Rank, now_ns: int) -> bool:
        """Whether a waiting request of that rank may take a seat before the stretch is over."""
        seats = self.seats
        for request in seats.requests:
            if request.ceiling is None:
                if request.rising:
                    return True
                request.ceiling = rank_of(self.policy, seats.settle(request), now_ns)
            if rank < request.ceiling:
                return True
        return False

    def _check(self, now_ns: int) -> None:
        """Every invariant that must hold between stretches."""
        seated = [self.seats.settle(r) for r in self.seats.requests]
        waiting = self.waiting.everyone()
        there = seated + waiting
        assert self.arrived == self.books.done + len(there), "a request is lost or doubled"
        assert len({r.index for r in there}) == len(there)
        assert len(seated) <= self.capacity.batch
        assert self.busy_ns + self.books.idle_ns == now_ns >= self.env.now, "the server's time does not add up"
        if self._limited:
            held = seated + [r for r in self.parked if r.place is not None]
            assert self.capacity.fits(len(held), sum(r.kv_tokens for r in held))
            assert all(r in self.parked for r in waiting if r.started and not r.away)
        for request in there:
            assert request.arrival_ns <= now_ns
            assert request.running == (request in seated)
            assert not request.done
            assert request.tokens == request.recorded.tokens[request.rounds]
            assert request.started or not (request.rounds or request.away)
        for request in waiting:
            assert request.place[0] == rank_of(self.policy, request, now_ns), "a waiting rank has changed unseen"
