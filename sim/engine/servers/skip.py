"""What servers that skip ahead have in common: arrivals, completions, and who waits."""

from dataclasses import dataclass
from operator import attrgetter

import simpy

from lapsd.policies import NEVER, Event, Policy
from lapsd.policies.decision import new_state, rank_of
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.memory import Estimate, Memory
from lapsd.sim.engine.prefill import PREFILLS
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.run_record import RunRecord
from lapsd.sim.engine.servers.waiting import Waiting
from lapsd.traces import Workload

WAITING_ORDER = attrgetter("waiting_entry")


@dataclass(eq=False)
class SkipServer:
    """Takes in arrivals; `serve` is its subclasses'.

    Requests are made when they arrive and forgotten when they are done: what is left of them is the
    run's record.

    Parameters
    ----------
    recorded : what each request replays, in order of arrival.
    check : hold the server to its invariants at every decision (slow).
    """

    env: simpy.Environment
    workload: Workload
    recorded: list[Recorded]
    policy: Policy
    capacity: Capacity
    memory: Memory
    run_record: RunRecord
    check: bool = False

    def __post_init__(self) -> None:
        work = self.workload
        self.released = len(work) if work.clients is None else min(work.clients, len(work))
        later = len(work) - self.released  # of a closed loop: not known yet
        self._arrivals: list[int] = [
            *work.arrival_ns[: self.released].tolist(),
            *[NEVER] * (later + 1),
        ]
        self._predicted: list[int] = work.predicted_tokens.tolist()
        self._costs = work.priced.profile.costs
        self._prefill = PREFILLS[self.capacity.prefill]
        self._watched = type(self.policy).on_event is not Policy.on_event
        self.memory.estimate = Estimate(self.policy)
        self.waiting = Waiting(self.policy)
        self.arrived = 0  # so many have come

    def active(self) -> list[Request]:
        """Who waits."""
        return self.waiting.everyone()

    @property
    def arrived_ns(self) -> list[int]:
        """When each request arrived."""
        return self._arrivals[:-1]

    def _arrive(self, now_ns: int) -> Request:
        """The next request comes, and waits."""
        index = self.arrived
        self.arrived = index + 1
        arrival_ns = self._arrivals[index]
        request = Request(
            index, arrival_ns, self._predicted[index], self.recorded[index], arrival_ns
        )
        request.state = new_state(
            self.policy, index, request.prompt_tokens, request.predicted_tokens
        )
        changed = self._watched and self.policy.on_event(Event("arrival", request, now_ns))
        self.waiting.push(request, rank_of(self.policy, request, now_ns), now_ns)
        if changed:
            self._state_changed(now_ns)
        return request

    def _admit(self, now_ns: int) -> None:
        """Arrivals up to now wait."""
        while self._arrivals[self.arrived] <= now_ns:
            self._arrive(now_ns)

    def _complete(self, request: Request, now_ns: int) -> None:
        """A request is done."""
        request.running = False
        if self.memory.limited:
            self.memory.release(request)
        self.run_record.close(request, now_ns)
        if self.released < self.run_record.requests:
            self._arrivals[self.released] = now_ns + self.workload.think_ns
            self.released += 1
        if self._watched and self.policy.on_event(Event("completion", request, now_ns)):
            self._state_changed(now_ns)

    def _state_changed(self, now_ns: int) -> None:
        """The policy's own state has changed: those who wait rank as it says now."""
        self.waiting.rank_again(now_ns)
