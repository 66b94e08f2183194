"""Size intervals of equal work: each server takes the requests of one interval of predicted sizes
(Harchol-Balter, Crovella, Murta, "On choosing a task assignment policy", 1999).

The limits between intervals give each server the same total predicted time of past requests.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from lapsd.policies.routers.base import Router, RouterContext, bound


@dataclass(frozen=True)
class SITA(Router):
    """Send each request to the server of its predicted size; server 0 takes the shortest ones.

    Notes
    -----
    Use it to keep short requests apart from long ones without any report of servers.

    References
    ----------
    Harchol-Balter, Crovella, Murta, 1999.
    """

    name: ClassVar[str] = "sita"
    limits_ns: tuple[int, ...] = bound(())

    def bind(self, context: RouterContext) -> Self:
        """See `Router.bind`."""
        sizes = np.asarray(context.past_sizes_ns, dtype=np.int64)
        if context.servers == 1 or not len(sizes):
            return self
        total = np.cumsum(sizes.astype(float))
        shares = total[-1] * np.arange(1, context.servers) / context.servers
        return replace(self, limits_ns=tuple(sizes[np.searchsorted(total, shares)].tolist()))

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        chosen = 0
        while chosen < len(self.limits_ns) and servers.size_ns[0] > self.limits_ns[chosen]:
            chosen += 1
        while not servers.allowed[chosen]:
            chosen = (chosen + 1) % servers.count
        return chosen
