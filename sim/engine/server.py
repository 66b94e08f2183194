"""The specification: requests of a workload served in batches under a policy, step by step, on
SimPy's clock.

The order of things at one instant, and what each decision commits, is `docs/simulator.md`. Slow and
obvious: every request is ranked again at every round boundary, and of a policy only `rank`,
`on_round` and what `on_event` takes in are used. Knows nothing of any particular policy or memory,
of randomness, or of floats: time is integer nanoseconds.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import simpy

from lapsd.policies import NEVER, Event, Policy
from lapsd.policies.decision import choose, new_state, no_progress, rank_of
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.memory import Estimate, Memory, Order
from lapsd.sim.engine.occupancy import Occupancy
from lapsd.sim.engine.prefill import PREFILLS, share
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.run_record import RunRecord
from lapsd.sim.engine.timeline import Timeline
from lapsd.traces import Workload


@dataclass(eq=False)
class StepServer:
    """One server of a given capacity, deciding at every round boundary.

    Attributes
    ----------
    measured : function of an instant and of who runs, or None
        Asked what the next step takes in nanoseconds; None, as its answer too: what it costs.
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
    occupancy: Occupancy | None = None
    measured: Callable[[int, Sequence[Request]], int | None] | None = None

    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    step: dict[Request, int] = field(
        default_factory=dict
    )  # tokens of who shares the next one, where prompts do
    arrived: int = 0
    busy_ns: int = 0

    def __post_init__(self) -> None:
        work, profile = self.workload, self.workload.priced.profile
        columns = zip(
            work.arrival_ns.tolist(), work.predicted_tokens.tolist(), self.recorded, strict=True
        )
        self.requests = [
            Request(i, at_ns, length, rows, at_ns)
            for i, (at_ns, length, rows) in enumerate(columns)
        ]
        self.released = len(work) if work.clients is None else min(work.clients, len(work))
        for request in self.requests[self.released :]:
            request.arrival_ns = NEVER  # not known yet
        self.memory.estimate = Estimate(self.policy)
        if self.timeline is not None:
            self.memory.on_transfer = self.timeline.on_transfer
        if self.capacity.in_steps:
            self._step_cost = profile.step_cost(self.capacity.batch)
            for request in self.requests:
                request.uncomputed_tokens = max(0, request.prompt_tokens - 1)
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
            before = self.memory.make_room(self.running, fresh, self._order(), self._now)
            if not self.running:
                gap = self._next_ns() - self._now
                self.run_record.idle_ns += gap
                yield self.env.timeout(gap)
                continue
            before += self._start([r for r in fresh if not r.started], self._now + before)
            round_ns = self._step_ns()
            self.busy_ns += before + round_ns
            if self.timeline is not None:
                self.timeline.decided(
                    self._now, self._now + before, round_ns, self.running, self.waiting
                )
            if self.occupancy is not None:
                self.occupancy.went_on(self.memory, bool(self.waiting), before + round_ns)
            yield self.env.timeout(before + round_ns)
            self._commit(round_ns)
        if self.timeline is not None:
            self.timeline.close()

    def active(self) -> list[Request]:
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
        while (
            self.arrived < len(self.requests)
            and self.requests[self.arrived].arrival_ns <= self._now
        ):
            request = self.requests[self.arrived]
            request.entered_ns = request.arrival_ns
            request.state = new_state(
                self.policy, request.index, request.prompt_tokens, request.predicted_tokens
            )
            self.waiting.append(request)
            self.arrived += 1
            self.policy.on_event(Event("arrival", request, self._now))

    def _order(self) -> Order:
        """By rank; at equal ranks who runs keeps running, then by entry into the queue, then by
        order of arrival.
        """
        policy, now_ns = self.policy, self._now
        return lambda r: (rank_of(policy, r, now_ns), not r.running, r.entered_ns, r.index)

    def _choose(self) -> list[Request]:
        """Choose who runs the next round; returns those who did not run the last one, in order."""
        there = self.active()
        ordered = sorted(there, key=self._order())
        chosen = choose(
            self.memory.ready(ordered, self._now), self.capacity.batch, self.memory.fits
        )
        if self.capacity.in_steps:
            # who would come for nothing stays where it is
            self.step = share(chosen, self.capacity.budget)
            chosen = [r for r in chosen if r.running or r in self.step]
        fresh, runs = [r for r in chosen if not r.running], set(chosen)
        for request in there:
            request.preemptions += request.running and request not in runs
            request.running = request in runs
        self.waiting = [r for r in there if not r.running]
        self.running = chosen
        return fresh

    def _next_ns(self) -> int:
        """When somebody may run, while nobody can: the next arrival, or a cache that is on its
        way.
        """
        arrivals = [
            request.arrival_ns for request in self.requests[self.arrived : self.arrived + 1]
        ]
        ready_ns = [self.memory.ready_ns(r, self._now) for r in self.waiting]
        on_the_way = [ns for ns in ready_ns if self._now < ns < NEVER]
        if self.waiting and not on_the_way:
            who = (
                "the first does not fit the memory"
                if min(ready_ns) <= self._now
                else "no cache is on its way"
            )
            raise no_progress(self.policy, self._now, len(self.active()), who)
        return min(arrivals + on_the_way)

    def _start(self, starting: list[Request], at_ns: int) -> int:
        """Requests start: nanoseconds that their prompts take before the round."""
        return self._prefill(starting, at_ns, self._costs) if starting else 0

    def _step_ns(self) -> int:
        """A round of those who decode, beside the chunks of prompts, if there are any, that share
        the step.
        """
        if (
            self.measured is not None
            and (known := self.measured(self._now, self.running)) is not None
        ):
            return known
        return self.cost_ns()

    def cost_ns(self) -> int:
        """What the next step costs by the profile."""
        chunks = [r for r in self.step if r.uncomputed_tokens]
        rounds = [r for r in self.step or self.running if not r.uncomputed_tokens]
        drafted, contexts = [r.next_drafted for r in rounds], sum(r.kv_tokens for r in rounds)
        if chunks:
            held = sum(r.kv_tokens - 1 - r.uncomputed_tokens for r in chunks)
            return self._step_cost(drafted, contexts, [self.step[r] for r in chunks], held)
        if len(rounds) == 1:
            return rounds[0].recorded.round_ns[rounds[0].rounds]
        return self._round_cost[len(rounds)](max(drafted), contexts)

    def _commit(self, step_ns: int) -> None:
        self.run_record.rounds += 1
        for request in self.step or self.running:
            if request.uncomputed_tokens:
                request.uncomputed_tokens -= self.step[request]
                request.prefill_ns += step_ns
                continue
            request.service_ns += step_ns
            request.tokens += request.recorded.emitted[request.rounds]
            request.rounds += 1
            if request.rounds == 1:
                request.first_token_ns = self._now
            queue = request.queue
            self.policy.on_round(request, self._now)
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
            self.policy.on_event(Event("completion", request, self._now))

    def _check(self) -> None:
        """Every invariant that must hold between rounds."""
        there, resident = self.active(), self.memory.resident
        assert self.arrived == self.run_record.done + len(there), "a request is lost or doubled"
        assert len({id(r) for r in there}) == len(there)
        assert len(self.running) <= self.capacity.batch
        assert all(r in resident for r in self.running)
        assert all(r.running == (r in self.running) for r in self.requests)
        assert all(r.arrival_ns <= self._now for r in there)
        self.memory.check()
        assert all(not r.done for r in [*resident, *there])
        for request in self.requests[: self.arrived]:
            if self.capacity.batch == 1:
                assert request.service_ns == sum(request.recorded.round_ns[: request.rounds])
            assert request.tokens == sum(request.recorded.emitted[: request.rounds])
            assert request not in resident or (request.started and not request.done)
        assert self.busy_ns + self.run_record.idle_ns == self._now, (
            "the server's time does not add up"
        )
