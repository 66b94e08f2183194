"""What validation asks of an engine: serve a plan, and say what happened."""

from typing import Protocol

from serve.plan import Plan
from serve.record import Record


class Engine(Protocol):
    """A real engine, ready to serve."""

    name: str

    def serve(self, plan: Plan) -> Record:
        """Serve a plan from an empty server until its last request is done, or until interrupted.

        Raises
        ------
        ValueError
            If the engine cannot serve it, in one line.
        """
        ...
