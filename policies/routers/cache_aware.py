"""Cache-aware routing, as routers of SGLang and vLLM do it: to the longest cached prefix, as long
as loads are balanced.

If the numbers of active requests differ by more than 64 and by half, the least loaded server is
chosen; else the server with the longest cached prefix if that covers more than 0.3 of the prompt;
else the server whose cache is filled least.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from lapsd.policies.routers.base import Router, least


@dataclass(frozen=True)
class CacheAware(Router):
    """Send each request to where most of its prompt is cached, as long as loads are balanced.

    Parameters
    ----------
    difference : int
        Loads are unbalanced if the largest exceeds the smallest by more requests than this, ...
    ratio : float
        ... and is more than so many times as large.
    match : float
        Share of the prompt that a cached prefix must exceed.

    Notes
    -----
    Use it where many prompts begin alike and servers have prefix caches.

    References
    ----------
    The routers of SGLang and vLLM.
    """

    name: ClassVar[str] = "cache-aware"
    difference: int = 64
    ratio: float = 1.5
    match: float = 0.3

    def __post_init__(self) -> None:
        if self.difference < 0:
            raise ValueError(f"cache-aware: difference={self.difference}: must be at least 0")
        if not self.ratio >= 1:
            raise ValueError(f"cache-aware: ratio={self.ratio}: must be at least 1")
        if not 0 <= self.match <= 1:
            raise ValueError(f"cache-aware: match={self.match}: must be between 0 and 1")

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        active = servers.waiting + servers.running
        shortest, longest = least(servers, active), least(servers, -active)
        if (
            active[longest] - active[shortest] > self.difference
            and active[longest] > self.ratio * active[shortest]
        ):
            return shortest
        best = least(servers, -servers.cached_tokens)
        if servers.cached_tokens[best] > self.match * request.prompt_tokens:
            return best
        return least(servers, servers.filled_tokens)
