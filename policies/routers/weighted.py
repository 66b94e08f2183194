"""Weighted scores, as the schedulers of llm-d and BLIS add them up: the share of the prompt that is
cached, how short the queue is, and how much KV memory is free, each from 0 to 1.

The default weights are those of llm-d's guide to inference scheduling: 3, 2 and 2.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from lapsd.policies.routers.base import Router

FIELDS = ("prefix", "queue", "kv")


@dataclass(frozen=True)
class Weighted(Router):
    """Send each request to the server with the highest score.

    Parameters
    ----------
    prefix : float
        Weight of the share of the prompt that is cached.
    queue : float
        Weight of how short the queue is: 1 for the fewest waiting requests, 0 for the most.
    kv : float
        Weight of the free share of KV memory; without a limit of memory it is 1.

    Notes
    -----
    Use it where prompts begin alike and loads differ: it weighs both.

    References
    ----------
    The guide of llm-d, with its weights.
    """

    name: ClassVar[str] = "weighted"
    prefix: float = 3.0
    queue: float = 2.0
    kv: float = 2.0

    def __post_init__(self) -> None:
        for field in FIELDS:
            if not 0 <= getattr(self, field) <= 1e6:
                raise ValueError(
                    f"weighted: {field}={getattr(self, field)}: must be between 0 and 1e6"
                )

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        fewest = most = servers.waiting[0]
        for k in range(servers.count):
            fewest, most = min(fewest, servers.waiting[k]), max(most, servers.waiting[k])
        best, highest = -1, 0.0
        for k in range(servers.count):
            if not servers.allowed[k]:
                continue
            cached = servers.cached_tokens[k] / max(1, request.prompt_tokens)
            short = (most - servers.waiting[k]) / (most - fewest) if most > fewest else 1.0
            free = 1.0
            if servers.kv_capacity[k] > 0:
                free = 1.0 - servers.kv_tokens[k] / servers.kv_capacity[k]
            score = self.prefix * cached + self.queue * short + self.kv * free
            if best < 0 or score > highest:
                best, highest = k, score
        return best
