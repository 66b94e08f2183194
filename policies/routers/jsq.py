"""Join the shortest queue: the server with the fewest active requests, of all servers or of d
random ones.

With d = 2 of many servers the longest queues are far shorter than with one random server
(Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lapsd.policies.routers.base import MOST_DRAWS, Router, allowed_count, least, nth_allowed


@dataclass(frozen=True)
class JSQ(Router):
    """Send each request to the server with the fewest active requests.

    Parameters
    ----------
    d : int or None
        Number of random servers that are compared; None: all.

    Notes
    -----
    Use it where the router knows the numbers of requests; `d=2` where it cannot ask all servers.

    References
    ----------
    Textbook; Mitzenmacher, 2001, for d = 2.
    """

    name: ClassVar[str] = "jsq"
    d: int | None = None

    def __post_init__(self) -> None:
        if self.d is not None and not 1 <= self.d <= MOST_DRAWS:
            raise ValueError(f"jsq: d={self.d}: must be between 1 and {MOST_DRAWS}")

    @property
    def draws(self) -> int:  # type: ignore[override]
        """See `Router.draws`."""
        return self.d or 0

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        active = servers.waiting + servers.running
        d = self.d
        if d is None:
            return least(servers, active)
        left = allowed_count(servers)
        numbers = np.arange(servers.count)
        for n in range(left):
            numbers[n] = nth_allowed(servers, n)
        best = -1
        for draw in range(min(d, left)):
            place = draw + request.random[draw] % (left - draw)
            k = numbers[place]
            numbers[place] = numbers[draw]
            if best < 0 or active[k] < active[best] or (active[k] == active[best] and k < best):
                best = k
        return best
