"""Least work left: the server whose active requests have the least remaining time.

At a batch size of 1, served first come first served, true remaining times make S servers with
queues of their own equal to S servers with one queue (M/G/S).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from lapsd.policies.routers.base import Router, least


@dataclass(frozen=True)
class LeastWork(Router):
    """Send each request to the server with the least predicted work.

    Notes
    -----
    Use it where output lengths are predicted well, at small batch sizes (docs/results/routing.md).

    References
    ----------
    Textbook.
    """

    name: ClassVar[str] = "least-work"

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        return least(servers, servers.work_ns)


@dataclass(frozen=True)
class LeastWorkOracle(Router):
    """Send each request to the server with the least true work, as a yardstick.

    Notes
    -----
    A reference: what exact predictions would add to `least-work`.

    References
    ----------
    Textbook.
    """

    name: ClassVar[str] = "least-work-oracle"
    clairvoyant: ClassVar[bool] = True

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        return least(servers, servers.true_work_ns)
