"""Random routing: each server is equally likely.

At a batch size of 1 and Poisson arrivals, S servers are then S independent M/G/1 queues.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from lapsd.policies.routers.base import Router, allowed_count, nth_allowed


@dataclass(frozen=True)
class Random(Router):
    """Send each request to a random server.

    Notes
    -----
    The baseline of every comparison of routers.

    References
    ----------
    Textbook.
    """

    name: ClassVar[str] = "random"
    draws: ClassVar[int] = 1

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        return nth_allowed(servers, request.random[0] % allowed_count(servers))
