"""Memory for the KV caches of so many requests, however long they are."""

from collections.abc import Sequence

from sim.engine.memory.base import Memory
from sim.engine.memory.eviction import Eviction
from sim.engine.recorded import Recorded
from sim.engine.request import Request


class Slots(Memory):
    """A slot a cache; at least as many as run together, so that those who run always fit.

    Parameters
    ----------
    slots : how many; None: as many as there are requests.
    """

    grows = False
    foresees = True

    def __init__(self, eviction: Eviction, slots: int | None) -> None:
        super().__init__(eviction)
        self.slots = slots
        self.limited = slots is not None

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        return self.slots is None or len(running) + len(waiting) <= self.slots

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        """Nobody: there is a slot for each that runs."""

    def lasts(self, running: Sequence[Request], most: int) -> int:
        return most
