"""The waiting requests in their order."""

from bisect import bisect_left, insort
from heapq import heappop, heappush, heapreplace
from typing import Any

from lapsd.policies import NEVER, Policy, Rank
from lapsd.policies.decision import name_of, rank_of
from lapsd.sim.engine.request import Request


class Waiting:
    """Who waits, by rank, then entry into the queue, then order of arrival; for policies that keep
    their promise.

    A request's own entry is in `waiting_entry`: others of it in the heap are past, and are dropped
    when they surface.

    Attributes
    ----------
    heap : list of (rank, entry time, index, request); the first is who is next.
    swapped_out_waiting : dict of Request
        Who waits and cannot run yet, and so has its entry, but none in the heap.
    wakes : heap of (time, index, entry) of ranks that fall.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.wakes: list[tuple[int, int, tuple[Any, ...]]] = []
        self.heap: list[tuple[Rank, int, int, Request]] = []
        self.swapped_out_waiting: dict[Request, None] = {}
        self._line: list[tuple[Any, ...]] = []  # entries of those apart, in order
        self._ages = type(policy).wake is not Policy.wake
        self._transferred = False  # some have a past in the heap

    def push(self, request: Request, rank: Rank, now_ns: int) -> None:
        """Add a request, or move one that is there. O(log n)."""
        request.waiting_entry = entry = (rank, request.entered_ns, request.index, request)
        if request in self.swapped_out_waiting:
            insort(self._line, entry)
        else:
            heappush(self.heap, entry)
        if self._ages and (wake := self.policy.wake(request, now_ns)) < NEVER:
            self._foretell(wake, entry, now_ns)

    def swap(self, request: Request, rank: Rank, now_ns: int) -> Request:
        """Remove the first, and add a request that goes behind it. O(log n)."""
        request.waiting_entry = entry = (rank, request.entered_ns, request.index, request)
        first = heapreplace(self.heap, entry)[3]
        first.waiting_entry = None
        if self._ages and (wake := self.policy.wake(request, now_ns)) < NEVER:
            self._foretell(wake, entry, now_ns)
        if self._transferred:
            self._drop_past()
        return first

    def _foretell(self, wake_ns: int, entry: tuple[Any, ...], now_ns: int) -> None:
        if wake_ns <= now_ns:
            raise ValueError(
                f"policy {name_of(self.policy)}: wake of request {entry[2]} at {wake_ns} ns is not"
                f" after {now_ns} ns"
            )
        heappush(self.wakes, (wake_ns, entry[2], entry))

    @property
    def next_wake(self) -> int:
        """When the next rank falls."""
        while self.wakes and self.wakes[0][2][3].waiting_entry is not self.wakes[0][2]:
            heappop(self.wakes)
        return self.wakes[0][0] if self.wakes else NEVER

    def pop(self) -> Request:
        """Remove the first. O(log n)."""
        request = heappop(self.heap)[3]
        request.waiting_entry = None
        if self._transferred:
            self._drop_past()
        return request

    def set_apart(self, request: Request, now_ns: int) -> None:
        """Somebody who is there cannot run any more."""
        self.swapped_out_waiting[request] = None
        self._transferred = True
        self.push(request, request.waiting_entry[0], now_ns)
        self._drop_past()

    def set_ready(self, request: Request, now_ns: int) -> None:
        """Somebody can run who could not."""
        del self.swapped_out_waiting[request]
        del self._line[bisect_left(self._line, request.waiting_entry)]
        self.push(request, request.waiting_entry[0], now_ns)

    def wake(self, now_ns: int) -> None:
        """Rank again those whose time has come."""
        while self.wakes and self.wakes[0][0] <= now_ns:
            entry = heappop(self.wakes)[2]
            request = entry[3]
            if request.waiting_entry is entry:
                if request in self.swapped_out_waiting:
                    del self._line[bisect_left(self._line, entry)]
                self._transferred = True
                self.push(request, rank_of(self.policy, request, now_ns), now_ns)
                self._drop_past()

    def rank_again(self, now_ns: int) -> None:
        """Rank everybody again. O(n)."""
        there = self.everyone()
        self.heap.clear()
        self._line.clear()
        self.wakes.clear()
        for request in there:
            self.push(request, rank_of(self.policy, request, now_ns), now_ns)

    def entries(self) -> list[tuple[Any, ...]]:
        """Of those who wait in order, then of those apart in order.

        O(n): a sorted list is a heap, and stays near.
        """
        if self._transferred:
            self.heap[:] = [entry for entry in self.heap if entry[3].waiting_entry is entry]
            self._transferred = False
        self.heap.sort()
        return self.heap + self._line

    def everyone(self) -> list[Request]:
        """In no particular order."""
        return [
            *(entry[3] for entry in self.heap if entry[3].waiting_entry is entry),
            *self.swapped_out_waiting,
        ]

    def _drop_past(self) -> None:
        while self.heap and self.heap[0][3].waiting_entry is not self.heap[0]:
            heappop(self.heap)
