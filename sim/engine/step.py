"""The specification: requests of a workload served in batches under a policy, round by round, on SimPy's clock.

The order of things at one instant, and what each decision commits, is `docs/simulator.md`. Slow and obvious: every
request is ranked again at every round boundary, and of a policy only `rank`, `learn` and what `observe` takes in are
used. Knows nothing of any particular policy, of randomness, or of floats: time is integer nanoseconds.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from policies import NEVER, Event, Policy
from sim.engine.books import Books
from sim.engine.capacity import Capacity
from sim.engine.ranks import name_of, rank_of
from sim.engine.request import Request
from sim.engine.timeline import Timeline
from traces import Profile


@dataclass(eq=False)
class StepServer:
    """One server of a given capacity, deciding at every round boundary."""

    env: simpy.Environment
    requests: list[Request]
    profile: Profile
    policy: Policy
    capacity: Capacity
    books: Books
    check: bool = False
    timeline: Timeline | None = None
    clients: int | None = None
    think_ns: int = 0

    waiting: list[Request] = field(default_factory=list)
    resident: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    arrived: int = 0
    busy_ns: int = 0

    def __post_init__(self) -> None:
        self._costs = self.profile.costs
        self._evict_ns, self._return_ns = self.capacity.moves(self._costs)
        self.released = len(self.requests) if self.clients is None else min(self.clients, len(self.requests))
        for request in self.requests[self.released :]:
            request.arrival_ns = NEVER  # not known yet
        self._round_cost = {b: self.profile.round_cost(b) for b in range(1, self.capacity.batch + 1)}

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a round, commit it."""
        while self.books.done < self.books.requests:
            self._admit()
            if self.check:
                self._check()
            if not self.waiting and not self.running:
                gap = self.requests[self.arrived].arrival_ns - self._now
                self.books.idle_ns += gap
                yield self.env.timeout(gap)
                continue
            self._choose()
            before = self._make_room()
            before += self._bring_in(self._now + before)
            before += self._prefill(self._now + before)
            round_ns = self._round_ns()
            self.busy_ns += before + round_ns
            if self.timeline is not None:
                self.timeline.decided(self._now, self._now + before, round_ns, self.running, self.waiting)
            yield self.env.timeout(before + round_ns)
            self._commit(round_ns)
        if self.timeline is not None:
            self.timeline.close()

    def present(self) -> list[Request]:
        """Who waits or runs."""
        return self.waiting + self.running

    @property
    def arrived_ns(self) -> list[int]:
        """When each request arrived."""
        return [request.arrival_ns for request in self.requests]

    @property
    def _now(self) -> int:
        return int(self.env.now)

    def _admit(self) -> None:
        while self.arrived < len(self.requests) and self.requests[self.arrived].arrival_ns <= self._now:
            request = self.requests[self.arrived]
            request.entered_ns = request.arrival_ns
            self.waiting.append(request)
            self.arrived += 1
            self.policy.observe(Event("arrival", request, self._now))

    def _order(self, request: Request) -> tuple[Any, ...]:
        """By rank; at equal ranks who runs keeps running, then by entry into the queue, then by order of arrival."""
        rank = rank_of(self.policy, request, self._now)
        return (rank, not request.running, request.entered_ns, request.index)

    def _choose(self) -> None:
        """The next round's requests: in order, as many as the batch and the KV memory take, none passed over."""
        chosen: list[Request] = []
        tokens = 0
        there = self.running + self.waiting
        ordered = self.waiting or self.capacity.kv_tokens is not None  # else all that ran runs on
        for request in sorted(there, key=self._order) if ordered else there:
            if len(chosen) == self.capacity.batch:
                break
            tokens += request.kv_needed
            if not self.capacity.fits(0, tokens):
                break
            chosen.append(request)
        if not chosen:
            raise ValueError(
                f"policy {name_of(self.policy)}: no progress at {self._now} ns: {len(there)} requests wait, "
                f"and the first does not fit kv_tokens {self.capacity.kv_tokens}"
            )
        for request in there:
            runs = request in chosen
            request.preemptions += request.running and not runs
            request.running = runs
        self.waiting = [r for r in there if not r.running]
        self.running = chosen

    def _make_room(self) -> int:
        """Nanoseconds to evict waiting residents, the last in order first, until the running ones have room."""
        spent = 0
        others = [r for r in self.resident if not r.running]
        if not others or self._room_with(others):
            return 0
        others.sort(key=self._order)
        while others and not self._room_with(others):
            victim = others.pop()
            moved = self._evict_ns(victim.kv_tokens)
            victim.switch_ns += moved
            if self.timeline is not None:
                self.timeline.moved("swap out", victim, self._now + spent, moved)
            spent += moved
            victim.away = True
            self.resident.remove(victim)
        return spent

    def _room_with(self, others: list[Request]) -> bool:
        held = sum(r.kv_needed for r in self.running) + sum(r.kv_tokens for r in others)
        return self.capacity.fits(len(self.running) + len(others), held)

    def _bring_in(self, start_ns: int) -> int:
        """Nanoseconds until every running request that had started has its KV cache in memory again."""
        spent = 0
        for request in self.running:
            if request.started and not request.away:
                continue
            if request.away:
                moved = self._return_ns(request.kv_tokens)
                request.switch_ns += moved
                if self.timeline is not None:
                    how = "swap in" if self.capacity.evict == "swap" else "recompute"
                    self.timeline.moved(how, request, start_ns + spent, moved)
                request.away = False
                spent += moved
            self.resident.append(request)
        return spent

    def _prefill(self, start_ns: int) -> int:
        """Nanoseconds of prefill, due before a request's first round."""
        fresh = [r for r in self.running if not r.started]
        # the first round verifies the prompt's last token: what is left to cache may be nothing
        cached = sum(max(0, r.prompt_tokens - 1) for r in fresh)
        together = self._costs.prefill(cached) if cached and self.capacity.prefill == "batched" else 0
        spent = together
        for request in fresh:
            request.started = True
            request.first_service_ns = start_ns + spent - together
            request.prefill_spent_ns = together or request.recorded.prefill_ns
            spent += 0 if together else request.recorded.prefill_ns
        return spent

    def _round_ns(self) -> int:
        """A round of the batch: as long as its longest draft, over the sum of contexts."""
        if len(self.running) == 1:
            return self.running[0].recorded.round_ns[self.running[0].rounds]
        cost = self._round_cost[len(self.running)]
        return cost(max(r.next_drafted for r in self.running), sum(r.kv_tokens for r in self.running))

    def _commit(self, round_ns: int) -> None:
        self.books.rounds += 1
        for request in self.running:
            request.service_ns += round_ns
            request.tokens += request.recorded.emitted[request.rounds]
            request.rounds += 1
            queue = request.queue
            self.policy.learn(request, self._now)
            if request.queue != queue:
                request.entered_ns = self._now
        done = sorted((r for r in self.running if r.done), key=lambda r: r.index)
        self.running = [r for r in self.running if not r.done]
        for request in done:
            self.resident.remove(request)
            request.running = False
            self.books.close(request, self._now)
            if self.released < len(self.requests):
                self.requests[self.released].arrival_ns = self._now + self.think_ns
                self.released += 1
            self.policy.observe(Event("completion", request, self._now))

    def _check(self) -> None:
        """Every invariant that must hold between rounds."""
        there = self.waiting + self.running
        assert self.arrived == self.books.done + len(there), "a request is lost or doubled"
        assert len({id(r) for r in there}) == len(there)
        assert len(self.running) <= self.capacity.batch
        assert all(r in self.resident for r in self.running)
        assert all(r.running == (r in self.running) for r in self.requests)
        assert all(r.arrival_ns <= self._now for r in there)
        # between rounds nobody looks ahead, and what was emitted was looked ahead for
        assert self.capacity.fits(len(self.resident), sum(r.kv_tokens for r in self.resident))
        assert all(not r.done for r in self.resident + there)
        for request in self.requests[: self.arrived]:
            if self.capacity.batch == 1:
                assert request.service_ns == sum(request.recorded.round_ns[: request.rounds])
            assert request.tokens == sum(request.recorded.emitted[: request.rounds])
            places = (request in self.resident, not request.started, request.away, request.done)
            assert places.count(True) == 1, f"request {request.index} is in {places.count(True)} places"
        assert self.busy_ns + self.books.idle_ns == self._now, "the server's time does not add up"
