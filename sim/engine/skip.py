"""What servers that skip ahead have in common: arrivals, who waits, and who keeps a KV cache in memory meanwhile."""

from dataclasses import dataclass

import simpy

from policies import NEVER, Event, Policy
from sim.engine.books import Books
from sim.engine.capacity import Capacity
from sim.engine.ranks import Waiting, rank_of
from sim.engine.request import Recorded, Request
from traces import Profile


@dataclass(eq=False)
class SkipServer:
    """Takes in arrivals; `serve` is its subclasses'.

    Requests are made when they arrive and forgotten when they are done: what is left of them are the books' columns.

    Parameters
    ----------
    arrivals, predicted, recorded : by request, in order of arrival
    check : hold the server to its invariants at every decision (slow).
    clients, think_ns : of a closed loop, as in `traces.Workload`.
    """

    env: simpy.Environment
    arrivals: list[int]
    predicted: list[int]
    recorded: list[Recorded]
    profile: Profile
    policy: Policy
    capacity: Capacity
    books: Books
    check: bool = False
    clients: int | None = None
    think_ns: int = 0

    def __post_init__(self) -> None:
        self.released = len(self.arrivals) if self.clients is None else min(self.clients, len(self.arrivals))
        later = len(self.arrivals) - self.released  # of a closed loop: not known yet
        self._arrivals = [*self.arrivals[: self.released], *[NEVER] * (later + 1)]
        self._evict_ns, self._return_ns = self.capacity.moves(self.profile.costs)
        self._watched = type(self.policy).observe is not Policy.observe
        self.waiting = Waiting(self.policy)
        self.parked: list[Request] = []  # who waits with a KV cache in memory, where that is limited
        self.arrived = 0  # so many have come

    def present(self) -> list[Request]:
        """Who waits."""
        return [entry[3] for entry in self.waiting.heap]

    @property
    def arrived_ns(self) -> list[int]:
        """When each request arrived."""
        return self._arrivals[:-1]

    def _arrive(self) -> Request:
        index = self.arrived
        arrival_ns = self._arrivals[index]
        request = Request(index, arrival_ns, self.predicted[index], self.recorded[index])
        request.entered_ns = arrival_ns
        self.arrived = index + 1
        return request

    def _admit(self, now_ns: int) -> None:
        """Arrivals up to now wait."""
        while self._arrivals[self.arrived] <= now_ns:
            request = self._arrive()
            changed = self._watched and self.policy.observe(Event("arrival", request, now_ns))
            self.waiting.push(request, rank_of(self.policy, request, now_ns), now_ns)
            if changed:
                self._state_changed(now_ns)

    def _complete(self, request: Request, now_ns: int) -> None:
        """A request is done."""
        request.running = False
        self.books.close(request, now_ns)
        if self.released < self.books.requests:
            self._arrivals[self.released] = now_ns + self.think_ns
            self.released += 1
        if self._watched and self.policy.observe(Event("completion", request, now_ns)):
            self._state_changed(now_ns)

    def _state_changed(self, now_ns: int) -> None:
        """The policy's own state has changed: those who wait rank as it says now."""
        self.waiting.rank_again(now_ns)
