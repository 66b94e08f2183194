"""Batches, skipping ahead: one SimPy timeout for all rounds up to the next decision that can matter.

Any batch size and memory. Rounds and time served are counted once for the whole batch, and a request's own counters
follow from when it joined; a stretch of rounds costs a sum over the batch from running totals of contexts. Must give
what `step` gives, to the nanosecond, for every policy that keeps the promise of its `run_until`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Generator
from typing import Any

import simpy

from policies import NEVER, Event, Policy, Rank
from sim.engine.books import Books
from sim.engine.capacity import Capacity
from sim.engine.ranks import Waiting, rank_of
from sim.engine.request import Recorded, Request
from traces import Profile, RoundCost


class Seat:
    """A running request's place in the batch.

    Attributes
    ----------
    rounds_ahead, service_ahead : int
        The request's own counters less the batch's.
    until_round, until_service : int
        The batch's counters at which the request needs a decision.
    ceiling : Rank or None
        What its rank does not exceed until then; None if that is not known.
    """

    __slots__ = (
        "ceiling", "hinted", "recorded", "request", "rising", "rounds_ahead", "service_ahead", "until_round",
        "until_service",
    )  # fmt: skip

    def __init__(self, request: Request, rounds: int, service_ns: int) -> None:
        self.request = request
        self.recorded = request.recorded
        self.rounds_ahead = request.rounds - rounds
        self.service_ahead = request.service_ns - service_ns
        self.until_round = self.until_service = 0
        self.ceiling: Rank | None = None
        self.rising = False
        self.hinted = False


class BatchServer:
    """One server of any capacity."""

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
        self._round_cost = [profile.round_cost(b) for b in range(1, capacity.batch + 1)]
        self._watched = type(policy).observe is not Policy.observe
        self._limited = capacity.kv_slots is not None or capacity.kv_tokens is not None
        self.waiting = Waiting(policy)
        self.running: list[Seat] = []
        self.parked: list[Request] = []  # who waits with a KV cache in memory, where that is limited
        self._one_round = False
        self.arrived = 0
        self.rounds = 0
        self.service_ns = 0
        self.busy_ns = 0

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a stretch of rounds, commit it."""
        env, books, waiting = self.env, self.books, self.waiting
        now = 0
        while books.done < books.requests:
            self._admit(now)
            if waiting.wakes:
                waiting.wake(now)
            if self.check:
                self._check(now)
            if not waiting.heap and not self.running:
                gap = self._arrivals[self.arrived] - now
                books.idle_ns += gap
                yield env.timeout(gap)
                now += gap
                continue
            fresh = self._choose(now)
            before = 0
            if self._limited:
                before += self._make_room()
            if fresh:
                before += self._bring_in(fresh)
                before += self._prefill(fresh, now + before)
            self._ask(now)
            rounds, stretch_ns = self._stretch(now, now + before)
            self.busy_ns += before + stretch_ns
            yield env.timeout(before + stretch_ns)
            now += before + stretch_ns
            self.rounds += rounds
            self.service_ns += stretch_ns
            self._commit(now)

    def _arrive(self) -> Request:
        index = self.arrived
        arrival_ns = self._arrivals[index]
        request = Request(index, arrival_ns, self._predicted[index], self._recorded[index])
        request.entered_ns = arrival_ns
        self.arrived += 1
        return request

    def _admit(self, now_ns: int) -> None:
        """Arrivals up to now wait."""
        while self._arrivals[self.arrived] <= now_ns:
            request = self._arrive()
            changed = self._watched and self.policy.observe(Event("arrival", request, now_ns))
            self.waiting.push(request, rank_of(self.policy, request, now_ns), now_ns)
            if changed:
                self._state_changed(now_ns)

    def _state_changed(self, now_ns: int) -> None:
        self.waiting.rank_again(now_ns)
        for seat in self.running:
            seat.hinted, seat.ceiling = False, None

    def _settle(self, seat: Seat) -> Request:
        """The seat's request with its counters up to date."""
        request = seat.request
        request.rounds = self.rounds + seat.rounds_ahead
        request.service_ns = self.service_ns + seat.service_ahead
        request.tokens = seat.recorded.tokens[request.rounds]
        return request

    def _rank(self, seat: Seat, now_ns: int) -> Rank:
        return rank_of(self.policy, self._settle(seat), now_ns)

    def _choose(self, now_ns: int) -> list[Request]:
        """Seat the next round's requests; returns those who did not sit there before, in order."""
        if self.capacity.kv_tokens is not None:
            return self._choose_what_fits(now_ns)
        waiting = self.waiting
        fresh: list[Request] = []
        for _ in range(self.capacity.batch - len(self.running)):
            if not waiting.heap:
                return fresh
            fresh.append(self._sit_down())
        if not waiting.heap:
            return fresh
        suspects = []
        for seat in self.running:
            if seat.request.running and (seat.ceiling is None or waiting.heap[0][0] < seat.ceiling):
                suspects.append((self._rank(seat, now_ns), seat.request.entered_ns, seat.request.index, seat))
        suspects.sort(key=lambda s: s[:3], reverse=True)
        for rank, _, _, seat in suspects:
            if waiting.heap[0][0] < rank:
                fresh.append(self._sit_down())
                self._send_away(seat, rank, now_ns)
            elif seat.rising:
                seat.hinted = False
            else:
                seat.ceiling = rank
        return fresh

    def _choose_what_fits(self, now_ns: int) -> list[Request]:
        """With a limit on tokens, everyone in order as long as they fit, none passed over."""
        waiting, tokens = self.waiting, 0
        fresh: list[Request] = []
        seated = [(self._rank(s, now_ns), s.request.entered_ns, s.request.index, s) for s in self.running]
        seated.sort(key=lambda s: s[:3])
        kept = 0
        while kept + len(fresh) < self.capacity.batch and (waiting.heap or kept < len(seated)):
            stays = kept < len(seated) and not (waiting.heap and waiting.heap[0][0] < seated[kept][0])
            request = seated[kept][3].request if stays else waiting.heap[0][3]
            tokens += request.kv_needed
            if not self.capacity.fits(0, tokens):
                break
            if stays:
                kept += 1
            else:
                fresh.append(self._sit_down())
        # who loses a seat is first now, as who ran goes before equals, but may not be so at the next boundary
        self._one_round = kept < len(seated)
        for rank, _, _, seat in seated[kept:]:
            self._send_away(seat, rank, now_ns)
        for seat in self.running:
            seat.hinted = False
        return fresh

    def _sit_down(self) -> Request:
        request = self.waiting.pop()
        self.running.append(Seat(request, self.rounds, self.service_ns))
        return request

    def _send_away(self, seat: Seat, rank: Rank, now_ns: int) -> None:
        request = self._settle(seat)
        self.running.remove(seat)
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
            moved = self.capacity.eviction_ns(self._costs, victim.kv_tokens)
            victim.switch_ns += moved
            victim.away = True
            spent += moved
        return spent

    def _room(self) -> bool:
        caches = len(self.running) + len(self.parked)
        if self.capacity.kv_tokens is None:
            return self.capacity.fits(caches, 0)
        held = sum(self._settle(s).kv_needed for s in self.running) + sum(r.kv_tokens for r in self.parked)
        return self.capacity.fits(caches, held)

    def _bring_in(self, fresh: list[Request]) -> int:
        """Nanoseconds until every newly chosen request that was evicted has its KV cache in memory again."""
        spent = 0
        for request in fresh:
            request.running = True
            if request.away:
                moved = self.capacity.return_ns(self._costs, request.kv_tokens)
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
        """Ask the policy how long those may run of whom that is not known."""
        best = self.waiting.best()
        for seat in self.running:
            if seat.hinted:
                continue
            request, recorded = self._settle(seat), seat.recorded
            rounds, service_ns, tokens, rising = self.policy.run_until(request, best, now_ns)
            last = min(rounds, len(recorded.round_ns))
            if tokens <= recorded.tokens[last]:
                last = bisect_left(recorded.tokens, tokens, 0, last)
            seat.until_round = max(last, request.rounds + 1) - seat.rounds_ahead  # a round is always served
            seat.until_service = service_ns - seat.service_ahead
            seat.ceiling, seat.rising, seat.hinted = best if rising else None, rising, True

    def _commit(self, now_ns: int) -> None:
        """Those whose stretch is over learn, or leave."""
        rounds, service_ns = self.rounds, self.service_ns
        reached = [s for s in self.running if s.until_round <= rounds or s.until_service <= service_ns]
        done = []
        for seat in reached:
            request = self._settle(seat)
            seat.hinted, seat.ceiling = False, None
            if request.done:
                done.append(request)
                self.running.remove(seat)
                continue
            queue = request.queue
            self.policy.learn(request, now_ns)
            if request.queue != queue:
                request.entered_ns = now_ns
        done.sort(key=lambda r: r.index)
        for request in done:
            request.running = False
            self.books.close(request, now_ns)
            if self._watched and self.policy.observe(Event("completion", request, now_ns)):
                self._state_changed(now_ns)

    def _stretch(self, now_ns: int, start_ns: int) -> tuple[int, int]:
        """Rounds until the next decision, and the time they take; takes in events that change nothing on the way."""
        waiting = self.waiting
        stretch = self._rounds_to_come()
        most = 1 if self._one_round else min(s.until_round for s in self.running) - self.rounds
        within = min(s.until_service for s in self.running) - self.service_ns
        if self._watched or (not waiting.heap and len(self.running) < self.capacity.batch):
            # whatever comes is seated, or may change the policy's state
            next_ns = min(self._arrivals[self.arrived], waiting.next_wake)
            return stretch.up_to(most, min(within, next_ns - start_ns))
        rounds, stretch_ns = stretch.up_to(most, within)
        first = waiting.heap[0][3] if waiting.heap else None
        while (at_ns := min(self._arrivals[self.arrived], waiting.next_wake)) < start_ns + stretch_ns:
            if waiting.next_wake == at_ns:
                waiting.wake(at_ns)
            else:
                newcomer = self._arrive()
                waiting.push(newcomer, rank_of(self.policy, newcomer, at_ns), at_ns)
            # a seat is free only for want of memory: whoever is first now may fit
            may_sit = len(self.running) < self.capacity.batch and waiting.heap[0][3] is not first
            if may_sit or self._matters(waiting.heap[0][0], now_ns):
                rounds, stretch_ns = stretch.up_to(rounds, at_ns - start_ns)
        return rounds, stretch_ns

    def _matters(self, rank: Rank, now_ns: int) -> bool:
        """Whether a waiting request of that rank may take a seat before the stretch is over."""
        for seat in self.running:
            if seat.ceiling is None:
                if seat.rising:
                    return True
                seat.ceiling = self._rank(seat, now_ns)
            if rank < seat.ceiling:
                return True
        return False

    def _rounds_to_come(self) -> "Rounds":
        """What the next rounds of those who run take."""
        seats = [(s.recorded, s.rounds_ahead + self.rounds) for s in self.running]
        free = None
        if self.capacity.kv_tokens is not None:
            free = self.capacity.kv_tokens - sum(r.kv_tokens for r in self.parked)
        return Rounds(seats, self._round_cost[len(seats) - 1], free)

    def _check(self, now_ns: int) -> None:
        """Every invariant that must hold between stretches."""
        seated = [self._settle(s) for s in self.running]
        waiting = self.waiting.everyone()
        there = seated + waiting
        assert self.arrived == self.books.done + len(there), "a request is lost or doubled"
        assert len({r.index for r in there}) == len(there)
        assert len(seated) <= self.capacity.batch
        assert self.busy_ns + self.books.idle_ns == now_ns == self.env.now, "the server's time does not add up"
        if self._limited:
            held = [*seated, *self.parked]
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


class Rounds:
    """The next rounds of a batch, from running totals: what they take, and how many fit the memory.

    Parameters
    ----------
    seats : (recorded rounds, rounds committed) of each request.
    free : KV tokens that they may hold together; None: no limit.
    """

    def __init__(self, seats: list[tuple[Recorded, int]], cost: RoundCost, free: int | None) -> None:
        self._seats = seats
        self._cost = cost
        self._free = free
        lengths = [r.draft_tokens for r, _ in seats]
        # where draft lengths differ from round to round no total says what a round of several takes, or holds
        self._regular = None not in lengths
        self._drafted = max(n for n in lengths if n is not None) if self._regular else 0

    def up_to(self, most: int, within_ns: int) -> tuple[int, int]:
        """Rounds until `most` are over or `within_ns` is reached, at least one, and the time they take."""
        if not self._regular and (len(self._seats) > 1 or self._free is not None):
            return 1, self._one_ns()
        if self._free is not None:
            most = max(1, bisect_right(range(most), self._free, key=self._held))
        if len(self._seats) == 1:
            recorded, done = self._seats[0]
            totals = recorded.service_ns
            last = bisect_left(totals, within_ns + totals[done], done + 1, done + most)
            return last - done, totals[last] - totals[done]
        base, per_token = self._cost.base_ns(self._drafted), self._cost.per_token_ns(self._drafted)
        spans = [(r.contexts, done) for r, done in self._seats]
        before = sum([c[k] for c, k in spans])

        def elapsed(rounds: int) -> int:
            return base * rounds + per_token * (sum([c[k + rounds] for c, k in spans]) - before)

        # contexts only grow: rounds get dearer, and the first one's price bounds how many there are
        first = elapsed(1)
        rounds = most if not first else max(1, min(most, -(-within_ns // first)))
        total = elapsed(rounds)
        while rounds > 1 and (less := elapsed(rounds - 1)) >= within_ns:
            rounds, total = rounds - 1, less
        return rounds, total

    def _one_ns(self) -> int:
        if len(self._seats) == 1:
            recorded, done = self._seats[0]
            return recorded.round_ns[done]
        drafted = max(r.drafted[k + 1] - r.drafted[k] for r, k in self._seats)
        return self._cost(drafted, sum(r.prompt_tokens + r.tokens[k] for r, k in self._seats))

    def _held(self, rounds: int) -> int:
        """KV tokens held, with what the next round may add, once `rounds` are over."""
        return sum(r.prompt_tokens + r.tokens[k + rounds] + (r.draft_tokens or 0) + 1 for r, k in self._seats)
