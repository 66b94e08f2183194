"""What validation asks of an engine: serve a plan, and say what happened."""

from collections.abc import Sequence
from typing import Protocol

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.traces import Provenance


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

    def interleaves(self, clock: str, kv_tokens: int | None) -> bool:
        """Whether rounds of other plans can run between those of one of such a clock and memory."""
        ...

    def serve(self, plan: Plan, interleaved: Sequence[Plan] = ()) -> Record:
        """Serve a plan from an empty server until its last request is done, or until interrupted.

        Parameters
        ----------
        interleaved : calibration plans whose rounds run between those of the plan, off its clock, if it
            `interleaves`.

        Raises
        ------
        ValueError
            If the engine cannot serve it, in one line.
        """
        ...
