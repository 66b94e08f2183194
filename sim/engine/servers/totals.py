"""What those who run add up to, by round of the batch: summed as they come and go, not at each
decision.
"""

import numpy as np
from numpy.typing import NDArray

from lapsd.sim.engine.memory import AddsUp
from lapsd.sim.engine.request import Request

ROUNDS_KEPT = 4096  # at least


class Totals:
    """Integers by round of the batch, to which those who run add their own.

    Attributes
    ----------
    values : array of int, by rounds of the batch after the first `origin`.
    """

    def __init__(self) -> None:
        self.values: NDArray[np.int64] = np.zeros(ROUNDS_KEPT, dtype=np.int64)
        self.origin = 0

    def of(self, request: Request, rounds: int) -> NDArray[np.int64]:
        """Those of a settled request's further rounds, which follow the batch's first `rounds`; to
        be added to.
        """
        start = rounds - self.origin
        stop = start + request.recorded.rounds - request.rounds
        if stop >= len(self.values):
            room = np.zeros(max(ROUNDS_KEPT, 2 * (stop - start)), dtype=np.int64)
            before = min(start, 1)  # what the last round had stays
            self.values = np.append(self.values[start - before :], room)
            self.origin = rounds - before
            start, stop = before, before + stop - start
        return self.values[start:stop]


class Needs(Totals):
    """What those who run need of memory that adds up, where each drafts as many tokens in all its
    rounds.
    """

    def __init__(self, memory: AddsUp) -> None:
        super().__init__()
        self.memory = memory

    def sit(self, request: Request, rounds: int) -> None:
        """A request runs after the batch's first `rounds`."""
        here = self.of(request, rounds)
        here += self.memory.needs(request)

    def leave(self, request: Request, rounds: int) -> None:
        """A request runs no more after the batch's first `rounds`."""
        if not request.done:
            here = self.of(request, rounds)
            here -= self.memory.needs(request)

    def at(self, rounds: int) -> int:
        """What those who run need together in their next round; so many are over."""
        at = rounds - self.origin
        return (
            int(self.values.item(at)) if at < len(self.values) else 0
        )  # nobody sat down for as long

    def last(self, rounds: int) -> int:
        """What they needed in the last round, but for those of them that were taken
        `out_of_last`.
        """
        return int(self.values.item(rounds - 1 - self.origin)) if rounds else 0

    def out_of_last(self, needed: int, rounds: int) -> None:
        """A request that needed so much in the last round does not run any more."""
        self.values[rounds - 1 - self.origin] -= needed

    def within(self, rounds: int, most: int, room: int) -> int:
        """In how many of the next `most` rounds, in which nobody is done before the last, they need
        at most that.
        """
        start = rounds - self.origin
        if self.values.item(start + most - 1) <= room:
            return most
        return int(self.values[start : start + most].searchsorted(room, side="right"))
