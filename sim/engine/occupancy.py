"""Occupancy of the KV memory: how much of it is filled, and how much is only occupied."""

from dataclasses import dataclass

from lapsd.sim.engine.memory import Memory


@dataclass(eq=False)
class Occupancy:
    """Occupancy while requests wait, which is when occupied memory that is not filled costs time.

    Attributes
    ----------
    ns : int
        Time during which requests waited, without idle time.
    filled, taken : int
        KV tokens times nanoseconds: of tokens that hold keys and values, and of occupied ones.
    """

    ns: int = 0
    filled: int = 0
    taken: int = 0

    def went_on(self, memory: Memory, waiting: bool, ns: int) -> None:
        """Record a step of so many nanoseconds, which begins."""
        if waiting:
            filled, taken = memory.usage()
            self.ns += ns
            self.filled += filled * ns
            self.taken += taken * ns
