"""Round robin: servers take requests in turn."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lapsd.policies.routers.base import Router


@dataclass
class Turn:
    """The server whose turn it is."""

    server: int = 0


@dataclass(frozen=True)
class RoundRobin(Router):
    """Send requests to the servers in turn.

    Notes
    -----
    Use it where the router knows nothing of the servers.

    References
    ----------
    Textbook.
    """

    name: ClassVar[str] = "round-robin"
    State: ClassVar[type[Any] | None] = Turn

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`."""
        chosen: int = servers.state.server
        while not servers.allowed[chosen]:
            chosen = (chosen + 1) % servers.count
        servers.state.server = (chosen + 1) % servers.count
        return chosen
