"""Memory for the KV caches of a number of requests, whatever their length."""

from collections.abc import Sequence

from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.room import Room
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


class Slots(Room):
    """One slot for each resident request; there are at least as many slots as running requests.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory("slots", swap, lapsd.Capacity(batch=1))
    >>> type(memory).__name__, memory.limited
    ('Slots', True)
    """

    name = "slots"

    @classmethod
    def of(cls, eviction: Eviction, limits: Limits) -> "Slots":
        if limits.kv_tokens is not None:
            raise ValueError(f"memory slots: knows no kv_tokens, here {limits.kv_tokens}")
        return cls(eviction, limits.slots)

    def needs(self, request: Request) -> int:
        return 1

    def keeps(self, request: Request) -> int:
        return 1

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        """Refuse no request: there is a slot for each running one."""
