"""The specification: a server that serves the requests of a workload in batches under a policy, on
SimPy's clock.

It takes the steps of `docs/reference/model.md` one after the other and ranks every active request
at every decision. Of a policy it uses `on_arrival`, `rank`, `on_round` and `on_event`. The module
`loop` has the same steps by the same names, compiled. Knows nothing of any particular policy or
memory manager, of randomness, or of floats: time is integer nanoseconds.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import simpy

from lapsd.policies import NEVER, Policy
from lapsd.policies.calls import no_progress
from lapsd.policies.decision import Decisions, choose, settle
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.drafting import Drafter
from lapsd.sim.engine.memory import Estimate, Memory, Order
from lapsd.sim.engine.occupancy import Occupancy
from lapsd.sim.engine.prefill import PREFILLS, share_tokens
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.run_record import RunRecord
from lapsd.sim.engine.timeline import Timeline
from lapsd.traces import Workload


def released_at_first(workload: Workload) -> int:
    """Return how many requests arrive without a completion before them."""
    return len(workload) if workload.clients is None else min(workload.clients, len(workload))


def requests_of(workload: Workload, recorded: Sequence[Recorded]) -> list[Request]:
    """Return the requests of a workload before their arrival, which may be unknown: `NEVER`."""
    columns = zip(
        workload.arrival_ns.tolist(), workload.predicted_tokens.tolist(), recorded, strict=True
    )
    requests = [
        Request(i, at_ns, length, rows, at_ns) for i, (at_ns, length, rows) in enumerate(columns)
    ]
    for request in requests[released_at_first(workload) :]:
        request.arrival_ns = NEVER
    return requests


@dataclass(eq=False)
class SimPyServer:
    """One server of a given capacity.

    Parameters
    ----------
    recorded : what each request replays, in order of arrival.
    check : whether the server checks its invariants at every decision, which is slow.
    measured : function of a time and the running requests, or None
        Returns the time of the next step in nanoseconds, or None for its cost by the profile; None:
        each step takes its cost.
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
    drafter: Drafter | None = None
    measured: Callable[[int, Sequence[Request]], int | None] | None = None

    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    # tokens of each request in the next step, where prompts share steps
    step: dict[Request, int] = field(default_factory=dict)
    arrived: int = 0
    busy_ns: int = 0

    def __post_init__(self) -> None:
        profile = self.workload.priced.profile
        self.requests = requests_of(self.workload, self.recorded)
        self.released = released_at_first(self.workload)
        self.decisions = Decisions(self.policy)
        self.memory.estimate = Estimate(self.policy)
        if self.timeline is not None:
            self.memory.on_transfer = self.timeline.on_transfer
        if self.capacity.in_steps:
            self._step_cost = profile.step_cost(self.capacity.batch)
        self._costs = profile.costs
        self._round_cost = {b: profile.round_cost(b) for b in range(1, self.capacity.batch + 1)}

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: take decisions and run rounds until all requests are done."""
        while self.run_record.done < self.run_record.requests:
            yield from self._decision_time()
            self._arrive()
            if self.check:
                self._check()
            fresh = self._choose()
            start_ns = self.memory.make_room(self.running, fresh, self._order(), self._now)
            if not self.running:
                yield self._wait()
                continue
            start_ns += self._prefill(fresh, self._now + start_ns)
            step_ns = self._draft() + self._step_ns()
            self._observe(start_ns, step_ns)
            yield self._pass(start_ns + step_ns)
            self._commit(step_ns)
        if self.timeline is not None:
            self.timeline.close()

    def active(self) -> list[Request]:
        """Return the active requests."""
        return self.waiting + self.running

    @property
    def arrived_ns(self) -> list[int]:
        """Time of each request's arrival."""
        return [request.arrival_ns for request in self.requests]

    @property
    def _now(self) -> int:
        return int(self.env.now)

    def _decision_time(self) -> Iterable[simpy.Event]:
        """Return what precedes a decision: nothing, where there is one server."""
        return ()

    def _pass(self, ns: int) -> simpy.Event:
        """Return the event that a step of so many nanoseconds is over."""
        return self.env.timeout(ns)

    def _arrive(self) -> None:
        """Let the requests that have arrived wait."""
        while self._next_arrival_ns() <= self._now:
            self.waiting.append(self.requests[self.arrived])
            self.admit(self.requests[self.arrived])
            self.arrived += 1

    def admit(self, request: Request) -> None:
        """Let a request that has arrived enter its first queue."""
        if self.capacity.in_steps:
            request.uncomputed_tokens = max(0, request.prompt_tokens - 1)
        self.decisions.arrive(request, self._now)

    def _next_arrival_ns(self) -> int:
        """Return the time of the next arrival; `NEVER` if it is unknown or there is none."""
        return (
            NEVER if self.arrived == len(self.requests) else self.requests[self.arrived].arrival_ns
        )

    def _order(self) -> Order:
        """Return the sort key of active requests."""
        return self.decisions.order(self._now)

    def _choose(self) -> list[Request]:
        """Choose the requests that run the next round; return those that did not run the last one,
        in order.
        """
        ordered = sorted(self.active(), key=self._order())
        ready = self.memory.ready(ordered, self._now)
        chosen = choose(ready, self.capacity.batch, self.memory.fits)
        if self.capacity.in_steps:
            self.step = share_tokens(chosen, self.capacity.budget, self.memory)
            # a waiting request that receives no tokens keeps waiting
            chosen = [r for r in chosen if r.running or r in self.step]
        self.waiting, fresh = settle(self.active(), chosen)
        self.running = chosen
        return fresh

    def _wait(self) -> simpy.Event:
        """Return the event of the next arrival or the end of the next KV transfer."""
        wait_ns = min(self._next_arrival_ns(), self._next_transfer_ns()) - self._now
        self.run_record.idle_ns += wait_ns
        return self.env.timeout(wait_ns)

    def _next_transfer_ns(self) -> int:
        """Return the end of the next KV transfer, for which the waiting requests wait; `NEVER` if
        there are none.
        """
        ready_ns = [self.memory.ready_ns(r, self._now) for r in self.waiting]
        transfers = [ns for ns in ready_ns if self._now < ns < NEVER]
        if self.waiting and not transfers:
            why = (
                "the first does not fit the memory"
                if min(ready_ns) <= self._now
                else "no cache is on its way"
            )
            raise no_progress(self.policy, self._now, len(self.active()), why)
        return min(transfers, default=NEVER)

    def _prefill(self, fresh: list[Request], start_ns: int) -> int:
        """Start the new requests; return the time that their prompts take before the round."""
        new = [r for r in fresh if not r.started]
        return PREFILLS[self.capacity.prefill](new, start_ns, self._costs) if new else 0

    def _draft(self) -> int:
        """Let the draft policy choose the draft lengths of the next step; return the time of a
        switch to another length.
        """
        if self.drafter is None:
            return 0
        decoding = [r for r in self.step or self.running if not r.uncomputed_tokens]
        return self.drafter.draft(decoding, len(self.waiting), self._now) if decoding else 0

    def _step_ns(self) -> int:
        """Return the time of the next step, as measured or by the profile."""
        known = None if self.measured is None else self.measured(self._now, self.running)
        return self.cost_ns() if known is None else known

    def cost_ns(self) -> int:
        """Return the cost of the next step: a round of the requests that decode, and parts of
        prompts.
        """
        prompts = [r for r in self.step if r.uncomputed_tokens]
        decoding = [r for r in self.step or self.running if not r.uncomputed_tokens]
        drafted, contexts = [r.next_drafted for r in decoding], sum(r.kv_tokens for r in decoding)
        chunks = [self.step[r] for r in prompts]
        if prompts and (self.drafter is None or self._costs.steps):
            computed = sum(r.kv_tokens - 1 - r.uncomputed_tokens for r in prompts)
            return self._step_cost(drafted, contexts, chunks, computed)
        round_ns = self._round_ns(drafted, contexts) if decoding else 0
        return round_ns + (self._costs.prefill.several(chunks) if prompts else 0)

    def _round_ns(self, drafted: Sequence[int], contexts: int) -> int:
        """Return the cost of a round without prompts."""
        if self.drafter is not None:
            return self.drafter.round_ns(drafted, contexts)
        return self._round_cost[len(drafted)](max(drafted), contexts)

    def _observe(self, start_ns: int, step_ns: int) -> None:
        """Record the decision where a timeline or the occupancy of memory is asked for."""
        self.busy_ns += start_ns + step_ns
        if self.timeline is not None:
            at_ns = self._now + start_ns
            self.timeline.decided(self._now, at_ns, step_ns, self.running, self.waiting)
        if self.occupancy is not None:
            self.occupancy.went_on(self.memory, bool(self.waiting), start_ns + step_ns)

    def _commit(self, step_ns: int) -> None:
        """Commit the step for the requests that were part of it, in order of arrival; finished
        requests leave.
        """
        self.run_record.rounds += 1
        for request in sorted(self.step or self.running, key=lambda r: r.index):
            if request.uncomputed_tokens:
                request.uncomputed_tokens -= self.step[request]
                request.prefill_ns += step_ns
            else:
                self._commit_round(request, step_ns)
        done = sorted((r for r in self.running if r.done), key=lambda r: r.index)
        self.running = [r for r in self.running if not r.done]
        for request in done:
            self._leave(request)

    def _commit_round(self, request: Request, round_ns: int) -> None:
        """Commit a request's round, and let the policy take it in."""
        emitted = request.recorded.emitted[request.rounds]
        self.decisions.commit(request, emitted, round_ns, self._now)
        if request.rounds == 1:
            request.first_token_ns = self._now

    def _leave(self, request: Request) -> None:
        """Let a finished request leave."""
        self.memory.release(request)
        request.running = False
        self.run_record.close(request, self._now)
        self._release_next()
        self.decisions.leave(request, self._now)

    def _release_next(self) -> None:
        """In a closed loop, let the next request arrive after the think time."""
        if self.released < len(self.requests):
            self.requests[self.released].arrival_ns = self._now + self.workload.think_ns
            self.released += 1

    def _check(self) -> None:
        """Assert the invariants that hold between rounds."""
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
            if self.capacity.batch == 1 and self.drafter is None:
                assert request.service_ns == sum(request.recorded.round_ns[: request.rounds])
            assert request.tokens == sum(request.recorded.emitted[: request.rounds])
            assert request not in resident or (request.started and not request.done)
        assert self.busy_ns + self.run_record.idle_ns == self._now, (
            "the server's time does not add up"
        )
