"""The specification: requests of a workload served in batches under a policy, round by round, on SimPy's clock.

The order of things at one instant, and what each decision commits, is `docs/simulator.md`. Slow and obvious: every
request is ranked again at every round boundary, and of a policy only `rank`, `learn` and what `observe` takes in are
used. Knows nothing of any particular policy or memory, of randomness, or of floats: time is integer nanoseconds.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import simpy

from policies import NEVER, Event, Policy
from policies.decision import choose, name_of, rank_of
from sim.engine.capacity import Capacity
from sim.engine.memory import Memory
from sim.engine.prefill import PREFILLS
from sim.engine.recorded import Recorded
from sim.engine.request import Request
from sim.engine.run_record import RunRecord
from sim.engine.timeline import Timeline
from traces import Workload


@dataclass(eq=False)
class StepServer:
    """One server of a given capacity, deciding at every round boundary.

    Attributes
    ----------
    measured : function of an instant and of who runs, or None
        What the next round takes in nanoseconds, where that is known from elsewhere and not from the profile.
    """

    env: simpy.Environment
    workload: Workload
    recorded: list[Recorded]
    policy: Policy
    capacity: Capacity
    memory: Memory
    run_record: RunRecord
    check: bool = False
    timeline: Timeline | None = None
    measured: Callable[[int, Sequence[Request]], int] | None = None

    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    arrived: int = 0
    busy_ns: int = 0

    def __post_init__(self) -> None:
        work, profile = self.workload, self.workload.priced.profile
        columns = zip(work.arrival_ns.tolist(), work.predicted_tokens.tolist(), self.recorded, strict=True)
        self.requests = [Request(i, at_ns, length, rows, at_ns) for i, (at_ns, length, rows) in enumerate(columns)]
        self.released = len(work) if work.clients is None else min(work.clients, len(work))
        for request in self.requests[self.released :]:
            request.arrival_ns = NEVER  # not known yet
        if self.timeline is not None:
            self.memory.moved = self.timeline.moved
        self._prefill = PREFILLS[self.capacity.prefill]
        self._costs = profile.costs
        self._round_cost = {b: profile.round_cost(b) for b in range(1, self.capacity.batch + 1)}

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a round, commit it."""
        while self.run_record.done < self.run_record.requests:
            self._admit()
            if self.check:
                self._check()
            fresh = self._choose()
            before = self.memory.make_room(self.running, fresh, self._order, self._now)
            if not self.running:
                gap = self._next_ns() - self._now
                self.run_record.idle_ns += gap
                yield self.env.timeout(gap)
                continue
            starting = [r for r in fresh if not r.started]
            before += self._prefill(starting, self._now + before, self._costs) if starting else 0
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

    def _choose(self) -> list[Request]:
        """Choose who runs the next round; returns those who did not run the last one, in order."""
        there = self.present()
        ready = [r for r in there if self.memory.ready_ns(r, self._now) <= self._now]
        chosen = choose(sorted(ready, key=self._order), self.capacity.batch, self.memory.fits)
        if ready and not chosen:
            self._stop(f"the first does not fit kv_tokens {self.capacity.kv_tokens}")
        fresh = [r for r in chosen if not r.running]
        for request in there:
            runs = request in chosen
            request.preemptions += request.running and not runs
            request.running = runs
        self.waiting = [r for r in there if not r.running]
        self.running = chosen
        return fresh

    def _next_ns(self) -> int:
        """When somebody may run, while nobody can: the next arrival, or a cache that is on its way."""
        arrivals = [request.arrival_ns for request in self.requests[self.arrived : self.arrived + 1]]
        soonest = min(arrivals + [self.memory.ready_ns(r, self._now) for r in self.waiting])
        if soonest == NEVER:
            self._stop("no cache is on its way")
        return soonest

    def _stop(self, why: str) -> NoReturn:
        there = len(self.present())
        raise ValueError(
            f"policy {name_of(self.policy)}: no progress at {self._now} ns: {there} requests wait, and {why}"
        )

    def _round_ns(self) -> int:
        """A round of the batch: as long as its longest draft, over the sum of contexts."""
        if self.measured is not None:
            return self.measured(self._now, self.running)
        if len(self.running) == 1:
            return self.running[0].recorded.round_ns[self.running[0].rounds]
        cost = self._round_cost[len(self.running)]
        return cost(max(r.next_drafted for r in self.running), sum(r.kv_tokens for r in self.running))

    def _commit(self, round_ns: int) -> None:
        self.run_record.rounds += 1
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
            self.memory.release(request)
            request.running = False
            self.run_record.close(request, self._now)
            if self.released < len(self.requests):
                self.requests[self.released].arrival_ns = self._now + self.workload.think_ns
                self.released += 1
            self.policy.observe(Event("completion", request, self._now))

    def _check(self) -> None:
        """Every invariant that must hold between rounds."""
        there, holders = self.present(), self.memory.holders
        assert self.arrived == self.run_record.done + len(there), "a request is lost or doubled"
        assert len({id(r) for r in there}) == len(there)
        assert len(self.running) <= self.capacity.batch
        assert all(r in holders for r in self.running)
        assert all(r.running == (r in self.running) for r in self.requests)
        assert all(r.arrival_ns <= self._now for r in there)
        # between rounds nobody looks ahead, and what was emitted was looked ahead for
        assert self.memory.fits([], list(holders))
        assert all(not r.done for r in [*holders, *there])
        for request in self.requests[: self.arrived]:
            if self.capacity.batch == 1:
                assert request.service_ns == sum(request.recorded.round_ns[: request.rounds])
            assert request.tokens == sum(request.recorded.emitted[: request.rounds])
            assert request not in holders or (request.started and not request.done)
        assert self.busy_ns + self.run_record.idle_ns == self._now, "the server's time does not add up"
