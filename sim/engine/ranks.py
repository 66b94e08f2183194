"""Ranks as policies give them, and the waiting requests in their order."""

from heapq import heappop, heappush
from typing import Any

from policies import NEVER, Policy, Rank
from sim.engine.request import Request


def rank_of(policy: Policy, request: Request, now_ns: int) -> Rank:
    """The policy's rank of a request.

    Raises
    ------
    ValueError
        Naming policy, request and value, if the policy raises, or the rank has NaN in it.
    """
    try:
        rank = policy.rank(request, now_ns)
        for part in rank:
            if part != part:  # what is not equal to itself has no place in any order
                break
        else:
            return rank
    except Exception as error:
        raise ValueError(
            f"policy {name_of(policy)}: ranking request {request.index} at {now_ns} ns raised "
            f"{type(error).__name__}: {error}"
        ) from error
    raise ValueError(f"policy {name_of(policy)}: rank {rank} of request {request.index} is not comparable")


def name_of(policy: Policy) -> str:
    """What users call the policy."""
    return policy.name or type(policy).__name__


def promises(policy: Policy) -> bool:
    """Whether its `run_until` can be trusted: no class below the one that defines it defines a method of its own."""
    for kind in type(policy).__mro__:
        if "run_until" in vars(kind):
            return kind is not Policy
        if any(callable(v) or isinstance(v, property) for k, v in vars(kind).items() if not k.startswith("__")):
            return False
    return False


class Waiting:
    """Who waits, by rank, then entry into the queue, then order of arrival; for policies that keep their promise.

    A request's place is the entry it holds: others of it in the heap are past, and are dropped when they surface.

    Attributes
    ----------
    heap : list of (rank, entry time, index, request); the first is who is next.
    wakes : heap of (time, index, place) of ranks that fall.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.wakes: list[tuple[int, int, tuple[Any, ...]]] = []
        self.heap: list[tuple[Rank, int, int, Request]] = []
        self._ages = type(policy).wake is not Policy.wake
        self._moved = False  # some have a past in the heap

    def push(self, request: Request, rank: Rank, now_ns: int) -> None:
        """Add a request, or move one that is there. O(log n)."""
        request.place = place = (rank, request.entered_ns, request.index, request)
        heappush(self.heap, place)
        if self._ages and (wake := self.policy.wake(request, now_ns)) < NEVER:
            if wake <= now_ns:
                raise ValueError(
                    f"policy {name_of(self.policy)}: wake of request {request.index} at {wake} ns is not after "
                    f"{now_ns} ns"
                )
            heappush(self.wakes, (wake, request.index, place))

    @property
    def next_wake(self) -> int:
        """When the next rank falls."""
        while self.wakes and self.wakes[0][2][3].place is not self.wakes[0][2]:
            heappop(self.wakes)
        return self.wakes[0][0] if self.wakes else NEVER

    def best(self) -> Rank | None:
        """The lowest rank; None if nobody waits."""
        return self.heap[0][0] if self.heap else None

    def pop(self) -> Request:
        """Remove the first. O(log n)."""
        request = heappop(self.heap)[3]
        request.place = None
        if self._moved:
            self._drop_past()
        return request

    def wake(self, now_ns: int) -> None:
        """Rank again those whose time has come."""
        while self.wakes and self.wakes[0][0] <= now_ns:
            place = heappop(self.wakes)[2]
            request = place[3]
            if request.place is place:
                self._moved = True
                self.push(request, rank_of(self.policy, request, now_ns), now_ns)
                self._drop_past()

    def rank_again(self, now_ns: int) -> None:
        """Rank everybody again. O(n)."""
        there = [entry[3] for entry in self.heap if entry[3].place is entry]
        self.heap.clear()
        self.wakes.clear()
        for request in there:
            self.push(request, rank_of(self.policy, request, now_ns), now_ns)

    def everyone(self) -> list[Request]:
        """In no particular order."""
        return [entry[3] for entry in self.heap if entry[3].place is entry]

    def _drop_past(self) -> None:
        while self.heap and self.heap[0][3].place is not self.heap[0]:
            heappop(self.heap)
