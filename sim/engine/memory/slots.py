"""Memory for the KV caches of so many requests, however long they are."""

from collections.abc import Sequence

from lapsd.sim.engine.memory.base import Limits, Memory, Order
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


class Slots(Memory):
    """A slot a cache; at least as many as run together, so that those who run always fit.

    Parameters
    ----------
    slots : how many; None: as many as there are requests.
    """

    name = "slots"
    grows = False
    predictable = True

    def __init__(self, eviction: Eviction, slots: int | None) -> None:
        super().__init__(eviction)
        self.slots = slots
        self.limited = slots is not None

    @classmethod
    def of(cls, eviction: Eviction, limits: Limits) -> "Slots":
        if limits.kv_tokens is not None:
            raise ValueError(f"memory slots: knows no kv_tokens, here {limits.kv_tokens}")
        return cls(eviction, limits.slots)

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        return self.slots is None or len(running) + len(waiting) <= self.slots

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        resident, at_ns = self.resident, now_ns
        if self.slots == 1 and resident and fresh:  # as below, half as long: the paper's setting
            (other,) = resident
            if other is fresh[0]:
                return 0
            at_ns += self.evict(other, at_ns)
            return at_ns + self.bring_in(fresh[0], at_ns) - now_ns
        if self.slots is not None and (excess := len(resident) + len(fresh) - self.slots) > 0:
            for request in fresh:
                if request in resident:
                    excess -= 1
            if excess > 0:
                waiting = sorted([r for r in resident if not r.running], key=order)
                while excess:
                    at_ns += self.evict(waiting.pop(), at_ns)
                    excess -= 1
        for request in fresh:
            if request not in resident:
                at_ns += self.bring_in(request, at_ns)
        return at_ns - now_ns

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        """Nobody: there is a slot for each that runs."""

    def lasts(self, running: Sequence[Request], most: int) -> int:
        return most
