"""The protocol between a server and its KV memory.

A manager says who holds a KV cache, what holding and growing one takes, whether those chosen fit,
who must go, what moves cost, and whether rounds wait for them. It is one subclass of `Memory` in a
file of its own: at least `fits` and `refuse`; of `AddsUp`, where what requests need adds up; by
overriding more it may keep pages of its own for each request, let go of a part of a cache only,
refuse to evict, or move caches while rounds go on. Who is better than whom is the server's to say;
of a policy managers know what it estimates, if they ask.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from lapsd.policies import NEVER, Policy
from lapsd.policies.decision import choose
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request

Order = Callable[[Request], Any]  # a sort key: the better, the lower


class Transfer(NamedTuple):
    """A KV cache that moves: `swap out`, `swap in` or `recompute`."""

    kind: str
    request: Request
    start_ns: int
    end_ns: int


class Limits(Protocol):
    """What a server tells a manager of its size: see `lapsd.sim.engine.Capacity`."""

    @property
    def batch(self) -> int: ...

    @property
    def slots(self) -> int | None: ...

    @property
    def kv_tokens(self) -> int | None: ...


@dataclass(frozen=True)
class Estimate:
    """What the policy that a server serves by foretells of requests."""

    policy: Policy | None = None

    def remaining_ns(self, request: Request) -> int:
        """How long it has still to run; 0 where nobody knows."""
        return (None if self.policy is None else self.policy.remaining_ns(request)) or 0

    def wake(self, request: Request, now_ns: int) -> int:
        """When, after `now_ns`, its rank falls if it goes on waiting."""
        return NEVER if self.policy is None else self.policy.wake(request, now_ns)


class Memory(ABC):
    """Who holds a KV cache in memory, evicting the worst of those who wait when those who run lack
    room.

    At each decision a server asks who is `ready`; `fits`, of ever more of the first of those, which
    are chosen; and `make_room` for them. A request that is done it gives to `release`.

    Attributes
    ----------
    name : str
        What users call it.
    resident : dict of Request
        Who has a cache in memory, running or not, in the order that they came.
    limited : bool
        Room can be lacking at all; where it cannot, a server need not ask.
    grows : bool
        Fewer than a batch may fit, or those who run may lack room from one round to the next.
    predictable : bool
        `lasts` keeps its promise: servers may skip ahead.
    estimate : Estimate
        Of the policy that the server serves by, for managers that look ahead.
    on_transfer : function of a Move, or None
        Called with each.
    """

    name: ClassVar[str]
    limited: bool = True
    grows: ClassVar[bool] = True
    predictable: bool = False

    def __init__(self, eviction: Eviction) -> None:
        self.eviction = eviction
        self.resident: dict[Request, None] = {}
        self.estimate = Estimate()
        self.on_transfer: Callable[[Transfer], None] | None = None

    @classmethod
    @abstractmethod
    def of(cls, eviction: Eviction, limits: Limits) -> Self:
        """The manager of a server of those limits; further parameters, by keyword, are a user's.

        Raises
        ------
        ValueError
            Naming the manager, and what it lacks or the parameter that is out of bounds.
        """

    @abstractmethod
    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        """Whether those can run a round together, beside the caches of those who wait.

        O(requests).
        """

    @abstractmethod
    def refuse(self, recorded: Sequence[Recorded]) -> None:
        """Raise `ValueError`, naming request and bound, if one of these would not fit even
        alone.
        """

    def first_that_fit(self, ordered: Sequence[Request], batch_slots: int) -> list[Request]:
        """The first in order, as many as have seats and fit together, as
        `lapsd.policies.decision.choose` has it.
        """
        return choose(ordered, batch_slots, self.fits)

    def catch_up(self) -> None:  # noqa: B027 - nothing to do, for most
        """What requests lack (`Request.uncomputed_tokens`) is to be as it is, also where the server
        skipped ahead to here.
        """

    def ready(self, ordered: Sequence[Request], now_ns: int) -> Iterable[Request]:
        """A decision begins, for those there, in order: who of them can run."""
        return (r for r in ordered if self.ready_ns(r, now_ns) <= now_ns)

    def ready_ns(self, request: Request, now_ns: int) -> int:
        """When a request can run at the soonest: now, unless its cache is on its way."""
        return now_ns

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        """Make room for those who run, and bring in the caches of those who have none there.

        Parameters
        ----------
        running : who runs the next round.
        fresh : those of them who did not run the last one, in order.
        order : of those who wait.

        Returns
        -------
        Nanoseconds until the round may begin.
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
        """A holder's cache leaves the memory: nanoseconds that it takes."""
        del self.resident[request]
        ns = self.eviction.out_ns(request.kv_tokens - request.uncomputed_tokens)
        if self.eviction.drops:
            request.uncomputed_tokens = max(0, request.kv_tokens - 1)
        request.switch_ns += ns
        if self.on_transfer is not None:
            self.on_transfer(Transfer("swap out", request, at_ns, at_ns + ns))
        return ns

    def bring_in(self, request: Request, at_ns: int) -> int:
        """A request holds a cache, its own from outside or a new one: nanoseconds that it takes."""
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
        """A running request is done: its memory is free."""
        del self.resident[request]

    def usage(self) -> tuple[int, int]:
        """KV tokens that hold keys and values, and those that are taken for them. O(holders)."""
        taken = sum([r.kv_needed if r.running else r.kv_tokens for r in self.resident])
        return self._filled(self.resident), taken

    @staticmethod
    def _filled(resident: Iterable[Request]) -> int:
        return sum([r.kv_tokens - r.uncomputed_tokens for r in resident])

    def check(self) -> None:
        """Assert every invariant between rounds: nobody looks ahead, and what was emitted was
        looked ahead for.
        """
        assert self.fits([], list(self.resident))

    def lasts(self, running: Sequence[Request], most: int) -> int:
        """How many of the next `most` rounds those who run fit, at least 1, if nobody else
        comes.
        """
        raise NotImplementedError(f"{type(self).__name__} is not predictable")
