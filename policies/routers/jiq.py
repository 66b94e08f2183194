"""Join an idle queue: a random server without requests, or a random one if there is none (Lu et
al., "Join-Idle-Queue", 2011).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from lapsd.policies.routers.base import Router, allowed_count, nth_allowed


@dataclass(frozen=True)
class JIQ(Router):
    """Send each request to a random idle server, or to any random one if none is idle.

    Notes
    -----
    Use it where the router knows only the servers that are idle.

    References
    ----------
    Lu et al., 2011.
    """

    name: ClassVar[str] = "jiq"
    draws: ClassVar[int] = 1

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        idle = 0
        for k in range(servers.count):
            if servers.allowed[k] and servers.waiting[k] + servers.running[k] == 0:
                idle += 1
        if idle == 0:
            return nth_allowed(servers, request.random[0] % allowed_count(servers))
        left = request.random[0] % idle
        for k in range(servers.count):
            if servers.allowed[k] and servers.waiting[k] + servers.running[k] == 0:
                if left == 0:
                    return k
                left -= 1
        return int(servers.count)
