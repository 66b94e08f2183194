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

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference",
    ...     "reference",
    ...     requests=20,
    ...     load=0.9,
    ...     batch=4,
    ...     kv_tokens=2000,
    ...     memory="paged",
    ... )
    >>> occupancy = lapsd.Occupancy()
    >>> done = lapsd.run(prepared, FCFS(), seed=0, occupancy=occupancy)
    >>> 0 < occupancy.filled <= occupancy.taken
    True
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
