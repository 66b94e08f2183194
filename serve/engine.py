"""The interface of an engine: serve a plan and return a record of what happened."""

from collections.abc import Sequence
from typing import Protocol

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.traces import Provenance


class Engine(Protocol):
    """A real engine that is ready to serve.

    Attributes
    ----------
    name : str
    weights : str
        The kind of weights, as in `lapsd.traces.Profile`.
    provenance : Provenance
        Models, machine and versions.
    """

    name: str
    weights: str
    provenance: Provenance

    def interleaves(self, clock: str, kv_tokens: int | None) -> bool:
        """Return whether rounds of other plans can run between the rounds of a plan.

        `clock` and `kv_tokens` are the plan's.
        """
        ...

    def serve(self, plan: Plan, interleaved: Sequence[Plan] = ()) -> Record:
        """Serve a plan from an empty server until all its requests finish, or until interrupted.

        Parameters
        ----------
        interleaved : calibration plans whose rounds run between the rounds of the plan while the
            clock of the plan is stopped; only where `interleaves` is true.

        Raises
        ------
        ValueError
            If the engine cannot serve the plan; the message is one line.
        """
        ...
