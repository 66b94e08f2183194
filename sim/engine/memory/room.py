"""Memory of a number of units: slots, tokens or blocks."""

from abc import abstractmethod
from collections.abc import Sequence

from lapsd.sim.engine.memory.base import Memory
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.request import Request


class Room(Memory):
    """Memory of `room` units, of which each running and each waiting resident request has some.

    Parameters
    ----------
    room : int or None
        Number of units; None: no limit.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, Room, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory("tokens", swap, lapsd.Capacity(batch=4, kv_tokens=1600))
    >>> type(memory).__name__, memory.limited
    ('Tokens', True)
    >>> isinstance(memory, Room)
    True
    """

    def __init__(self, eviction: Eviction, room: int | None) -> None:
        super().__init__(eviction)
        self.room = room
        self.limited = room is not None

    @abstractmethod
    def needs(self, request: Request) -> int:
        """Return the units that a running request needs in its next round."""

    @abstractmethod
    def keeps(self, request: Request) -> int:
        """Return the units that a waiting resident request occupies."""

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        units = sum(map(self.needs, running)) + sum(map(self.keeps, waiting))
        return self.room is None or units <= self.room
