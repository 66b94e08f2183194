"""What validation asks of an engine: serve a plan, and say what happened."""

from typing import Protocol

from serve.plan import Plan
from serve.record import Record
from traces import Provenance


class Engine(Protocol):
    """A real engine, ready to serve.

    Attributes
    ----------
    name : str
    weights : str
        Of what kind, as in `traces.Profile`.
    provenance : Provenance
        Its models, machine and versions.
    """

    name: str
    weights: str
    provenance: Provenance

    def serve(self, plan: Plan) -> Record:
        """Serve a plan from an empty server until its last request is done, or until interrupted.

        Raises
        ------
        ValueError
            If the engine cannot serve it, in one line.
        """
        ...
