"""The balancer of vLLM's data-parallel engines: the least of 4 times waiting plus running requests,
by counts that are 100 ms old.

After `DPLBAsyncMPClient` of vLLM 0.11 to 0.32: a coordinator publishes the counts every 100 ms, and
the client adds what it has sent since.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from lapsd.policies.routers.base import Router, least


@dataclass(frozen=True)
class VllmDP(Router):
    """Send each request to the server with the least of 4 waiting + running.

    Notes
    -----
    Use it to simulate vLLM's own balancer.

    References
    ----------
    `DPLBAsyncMPClient` of vLLM 0.11 to 0.32.
    """

    name: ClassVar[str] = "vllm-dp"
    signal_age_ms: ClassVar[float] = 100.0

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        return least(servers, 4 * servers.waiting + servers.running)
