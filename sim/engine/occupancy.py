"""How much of the KV memory holds anything, step by step: what is filled, what is only taken."""

from dataclasses import dataclass

from lapsd.sim.engine.memory import Memory


@dataclass(eq=False)
class Occupancy:
    """Recorded by a server while somebody waits: that is when room that nobody fills costs
    anything.

    Attributes
    ----------
    ns : int
        How long somebody waited, idle time aside.
    filled, taken : int
        KV tokens times nanoseconds: that hold keys and values, and that are taken, filled or not.
    """

    ns: int = 0
    filled: int = 0
    taken: int = 0

    def went_on(self, memory: Memory, waiting: bool, ns: int) -> None:
        """A step of so many nanoseconds begins."""
        if waiting:
            filled, taken = memory.usage()
            self.ns += ns
            self.filled += filled * ns
            self.taken += taken * ns
