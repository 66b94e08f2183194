"""Memory whose requests' needs add up."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lapsd.sim.engine.memory.base import Memory
from lapsd.sim.engine.request import Request


class AddsUp(Memory):
    """What those who run need is the sum of what each needs, in tokens or blocks.

    A request that drafts as many tokens in all its rounds never needs less than before, so that
    servers can keep sums instead of counting; where draft lengths differ, they count at each round.
    """

    @abstractmethod
    def needs(self, request: Request) -> NDArray[np.int64] | int:
        """What a request that drafts as many tokens in all rounds needs in each further one; an
        int: in all.
        """

    @abstractmethod
    def needed(self, running: Sequence[Request]) -> int:
        """What those need together in their next round. O(requests)."""

    @abstractmethod
    def room(self, waiting: Iterable[Request] = ()) -> int:
        """What those who run may need together, beside the caches of those who wait. O(those)."""

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        return self.needed(running) <= self.room(waiting)

    def lasts(self, running: Sequence[Request], most: int) -> int:
        return 1  # what a round may need goes up and down; else servers add up
