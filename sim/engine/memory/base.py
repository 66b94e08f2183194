"""The protocol between a server and its KV memory.

A memory manager decides which requests are resident, whether the chosen requests fit, which
requests are evicted, what KV transfers cost, and when a round may begin. Each manager is a subclass
of `Memory` in a module of its own, with at least `of`, `fits` and `refuse`. `lapsd.sim.engine.loop`
has the same managers over flat arrays. A manager knows the order of requests, which the server
gives it, and of the policy only what `Estimate` says.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from lapsd.policies import NEVER, Policy
from lapsd.policies.calls import remaining_of, wake_of
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request

Order = Callable[[Request], Any]  # a sort key of active requests
"""Type of a function that returns the sort key of a request; the lowest runs first.

Examples
--------
>>> from lapsd.sim.engine.memory import Order
>>> by_index: Order = lambda request: request.job.index
"""
MOST_UNITS = 10**15  # slots, tokens or blocks of a memory


class Transfer(NamedTuple):
    """A KV transfer of a request: `swap out`, `swap in` or `recompute`.

    Examples
    --------
    >>> from lapsd.sim.engine.memory import Transfer
    >>> Transfer._fields
    ('kind', 'request', 'start_ns', 'end_ns')
    """

    kind: str
    request: Request
    start_ns: int
    end_ns: int


class Limits(Protocol):
    """The limits of a server that a manager may use: see `lapsd.sim.engine.Capacity`.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import Limits
    >>> limits: Limits = lapsd.Capacity(batch=4, kv_tokens=1600)
    >>> limits.batch, limits.kv_tokens
    (4, 1600)
    """

    @property
    def batch(self) -> int: ...

    @property
    def slots(self) -> int | None: ...

    @property
    def kv_tokens(self) -> int | None: ...


@dataclass(frozen=True)
class Estimate:
    """The estimates of the policy that a server uses, for managers that plan ahead.

    Examples
    --------
    >>> from lapsd.sim.engine.memory import Estimate
    >>> Estimate().policy is None  # then every remaining time is 0
    True
    """

    policy: Policy | None = None

    def remaining_ns(self, request: Request, now_ns: int) -> int:
        """Return the estimated remaining time of a request; 0 if the policy makes no estimate."""
        return 0 if self.policy is None else remaining_of(self.policy, request.seen, now_ns)

    def wake(self, request: Request, now_ns: int) -> int:
        """Return the time after `now_ns` at which a waiting request's rank falls."""
        return NEVER if self.policy is None else wake_of(self.policy, request.seen, now_ns)


class Memory(ABC):
    """A memory manager that evicts the last waiting requests when the running ones lack room.

    At each decision a server asks which requests are `ready`, whether more and more of the first of
    these `fits`, and calls `make_room` for the chosen ones. It calls `release` for a finished
    request.

    Attributes
    ----------
    name : str
        The name that users type.
    resident : dict of Request
        The resident requests, running or not, in the order in which they became resident.
    limited : bool
        Whether memory can be lacking at all.
    estimate : Estimate
        Estimates of the policy that the server uses.
    on_transfer : function of a Transfer, or None
        Called with each transfer.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory("tokens", swap, lapsd.Capacity(batch=4, kv_tokens=1600))
    >>> type(memory).__name__, memory.limited
    ('Tokens', True)
    >>> list(memory.resident)
    []
    """

    name: ClassVar[str]
    limited: bool = True

    def __init__(self, eviction: Eviction) -> None:
        self.eviction = eviction
        self.resident: dict[Request, None] = {}
        self.estimate = Estimate()
        self.on_transfer: Callable[[Transfer], None] | None = None

    @classmethod
    @abstractmethod
    def of(cls, eviction: Eviction, limits: Limits) -> Self:
        """Return the manager of a server with these limits; users set the keyword parameters.

        Raises
        ------
        ValueError
            Naming the manager, and what it lacks or the parameter that is out of bounds.
        """

    @abstractmethod
    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        """Return whether these requests can run a round together while these waiting requests stay
        resident. O(requests).
        """

    @abstractmethod
    def refuse(self, recorded: Sequence[Recorded]) -> None:
        """Raise `ValueError`, naming request and bound, if a request does not fit even alone."""

    def ready(self, ordered: Sequence[Request], now_ns: int) -> Iterable[Request]:
        """Begin a decision; return the requests that can run, of all active requests in order."""
        return (r for r in ordered if self.ready_ns(r, now_ns) <= now_ns)

    def ready_ns(self, request: Request, now_ns: int) -> int:
        """Return the earliest time at which a request can run: now, unless its cache is on its
        way.
        """
        return now_ns

    def cached_tokens(self, request: Request) -> int:
        """Return the leading tokens of a request's prompt that other requests left in memory."""
        return 0

    @property
    def filled_tokens(self) -> int:
        """Tokens of the prompt blocks in memory that have a hash."""
        return 0

    def look_up(self, request: Request) -> None:
        """Note which tokens of a chosen request are cached, if it is not resident."""
        return

    def schedule(self, request: Request, tokens: int) -> None:
        """Note that so many uncomputed tokens of a chosen request are part of the next step."""
        return

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        """Evict waiting requests until the running ones have room, and bring in the caches of those
        that have none.

        Parameters
        ----------
        running : Sequence[Request]
            Requests that run the next round.
        fresh : Sequence[Request]
            Those of them that did not run the last one, in order.
        order : Order
            Sort key of active requests.

        Returns
        -------
        Time in nanoseconds until the round may begin.
        """
        at_ns = now_ns
        waiting = [r for r in self.resident if not r.running]
        if waiting and not self.fits(running, waiting):
            waiting.sort(key=order)
            while waiting and not self.fits(running, waiting):
                at_ns += self.evict(waiting.pop(), at_ns)
        for request in fresh:
            if request not in self.resident:
                at_ns += self.bring_in(request, at_ns)
        return at_ns - now_ns

    def evict(self, request: Request, at_ns: int) -> int:
        """Take a resident request's cache out of memory; return the time that this takes."""
        del self.resident[request]
        ns = self.eviction.out_ns(request.kv_tokens - request.uncomputed_tokens)
        if self.eviction.drops:
            request.uncomputed_tokens = max(0, request.kv_tokens - 1)
        request.switch_ns += ns
        if self.on_transfer is not None:
            self.on_transfer(Transfer("swap out", request, at_ns, at_ns + ns))
        return ns

    def bring_in(self, request: Request, at_ns: int) -> int:
        """Give a request a cache, its own or a new one; return the time that this takes."""
        self.resident[request] = None
        if not request.started or self.eviction.in_steps:
            return 0
        if self.eviction.drops:
            ns = self.eviction.back_ns(request.uncomputed_tokens + 1)
            request.uncomputed_tokens = 0
        else:
            ns = self.eviction.back_ns(request.kv_tokens - request.uncomputed_tokens)
        request.switch_ns += ns
        if self.on_transfer is not None:
            self.on_transfer(Transfer(self.eviction.back, request, at_ns, at_ns + ns))
        return ns

    def release(self, request: Request) -> None:
        """Free the memory of a finished request."""
        del self.resident[request]

    def usage(self) -> tuple[int, int]:
        """Return the KV tokens that hold keys and values, and those that are occupied for them.
        O(resident).
        """
        taken = sum([r.kv_needed if r.running else r.kv_tokens for r in self.resident])
        return self._filled(self.resident), taken

    @staticmethod
    def _filled(resident: Iterable[Request]) -> int:
        return sum([r.kv_tokens - r.uncomputed_tokens for r in resident])

    def check(self) -> None:
        """Assert the invariants between rounds: the resident requests fit without drafts."""
        assert self.fits([], list(self.resident))
