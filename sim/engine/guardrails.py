"""Guardrails: no server gets much more work of a range of sizes than another (Grosof, Scully,
Harchol-Balter, "Load Balancing Guardrails", arXiv 1905.03439).

Sizes fall into ranks: rank r holds sizes from c**r to c**(r + 1). Each server has a counter per
rank of the work that it received. A request of rank r may be sent to a server if that counter then
exceeds the smallest one of all servers by at most g · c**(r + 1). Each counter of a server without
active requests is set to the smallest one of its rank, as in the authors' program.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_G = 1e6
MOST_RANKS = 10_000


def growth(load: float | None) -> float:
    """Return c, which the authors let approach 1 as the load does; 2 if the load is not known or
    not below 1.
    """
    if load is None or not load < 1:
        return 2.0
    return 1 + 1 / (1 + math.log(1 / (1 - load)))


def edges_of(smallest_ns: int, largest_ns: int, c: float) -> NDArray[np.int64]:
    """Return the lower ends of all ranks that sizes between two bounds fall into, in nanoseconds,
    and the upper end of the last one.
    """
    first = math.floor(math.log(max(1, smallest_ns)) / math.log(c))
    ends = [0]
    rank = first + 1
    while ends[-1] <= largest_ns and len(ends) <= MOST_RANKS:
        ends.append(max(ends[-1] + 1, round(c**rank)))
        rank += 1
    return np.array(ends, dtype=np.int64)


class Guardrails:
    """The counters of a run.

    Parameters
    ----------
    edges : as `edges_of` returns them.
    g : how far counters may differ, in sizes of the rank; the smaller, the more equal.
    """

    def __init__(self, edges: NDArray[np.int64], g: float, servers: int) -> None:
        self.edges = edges.tolist()
        self.spans = [int(g * end) for end in self.edges[1:]]
        self.sent = [[0] * servers for _ in self.spans]
        self.active = [0] * servers

    def rank_of(self, size_ns: int) -> int:
        """Return the rank of a size."""
        rank = 0
        while rank + 1 < len(self.spans) and size_ns >= self.edges[rank + 1]:
            rank += 1
        return rank

    def allowed(self, size_ns: int) -> Sequence[int]:
        """Set counters of servers without requests back; return 1 for each server that a request
        of a size may be sent to, else 0.
        """
        self._set_back()
        rank = self.rank_of(size_ns)
        counters = self.sent[rank]
        most = min(counters) + self.spans[rank]
        return [int(counter + size_ns <= most or counter == min(counters)) for counter in counters]

    def _set_back(self) -> None:
        for counters in self.sent:
            least = min(counters)
            for k, active in enumerate(self.active):
                if active == 0:
                    counters[k] = least

    def send(self, size_ns: int, server: int) -> None:
        """Count a request that is sent to a server."""
        self.sent[self.rank_of(size_ns)][server] += size_ns
        self.active[server] += 1

    def leave(self, server: int) -> None:
        """Count a request that leaves a server."""
        self.active[server] -= 1
