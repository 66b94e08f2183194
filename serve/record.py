"""What a live run left behind: every step of the server, and what became of each request.

Times are integer nanoseconds on the run's own clock, which begins at 0. A step is one decision and
what it committed: moves, prompts, then a round (or whatever the engine does in one go). All time
from one decision to the next belongs to the step between them; idle time ends exactly at an
arrival. Plain data, and JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

from lapsd.serve.plan import versioned

VERSION = 1


class KVTransfer(NamedTuple):
    """A KV cache that moved before a round: `swap out`, `swap in` or `recompute`, and how many
    tokens it held.
    """

    kind: str
    request: int
    tokens: int
    ns: int


class Prefilled(NamedTuple):
    """A prompt that was read before a round, in a pass of its own; `tokens` are those cached."""

    request: int
    tokens: int
    ns: int


@dataclass(frozen=True)
class Step:
    """A decision and what it committed; the four lists by running request are parallel to
    `running`.

    Attributes
    ----------
    start_ns, end_ns : int
    running : sequence of int
        Indices of who ran, the best first.
    moves : sequence of Moved
    prefills : sequence of Prefilled
    round_ns : int
        The step but for its moves and prompts.
    contexts : sequence of int Tokens of each request before the round: its prompt and output (of an
        unfinished prompt, what is cached).
    scheduled : sequence of int Tokens that the target went over for each: draft tokens and one
        more, or a piece of a prompt.
    accepted, emitted : sequence of int
        Draft tokens that became output, and output tokens.
    draft_ns, verify_ns : int
        Parts of the round, where the engine tells.
    """

    start_ns: int
    end_ns: int
    running: Sequence[int]
    round_ns: int
    contexts: Sequence[int]
    scheduled: Sequence[int]
    accepted: Sequence[int]
    emitted: Sequence[int]
    moves: Sequence[KVTransfer] = ()
    prefills: Sequence[Prefilled] = ()
    draft_ns: int = 0
    verify_ns: int = 0

    def moved_to(self, start_ns: int) -> "Step":
        """The same at another instant."""
        return replace(self, start_ns=start_ns, end_ns=start_ns + self.end_ns - self.start_ns)


@dataclass(frozen=True)
class RequestResult:
    """What became of a request that was served to its end.

    Attributes
    ----------
    index : int
        Its place in the plan.
    arrival_ns, first_service_ns, finish_ns : int
        First service is when its prompt was begun.
    prefill_ns, service_ns, switch_ns : int
        Time of its prompt, of its rounds, and of moves of its cache.
    preemptions : int
        How often it had to stop, unfinished.
    tokens : sequence of int
        Output token ids.
    drafted, accepted : sequence of int
        By round; `accepted` counts draft tokens that are part of the output.
    """

    index: int
    arrival_ns: int
    first_service_ns: int
    finish_ns: int
    prefill_ns: int
    service_ns: int
    switch_ns: int
    preemptions: int
    tokens: Sequence[int]
    drafted: Sequence[int]
    accepted: Sequence[int]

    @property
    def latency_ns(self) -> int:
        """Finish minus arrival."""
        return self.finish_ns - self.arrival_ns


@dataclass(frozen=True)
class Record:
    """A live run.

    Attributes
    ----------
    engine : str
    policy : str
        Its spec.
    steps : sequence of Step, in order
    results : sequence of Served, in order of finish
    idle_ns, end_ns : int
    complete : bool
        False: interrupted; requests that were not done are missing from `results`.
    notes : mapping
        What else the engine tells: versions, warnings.
    interleaved : sequence of Record Of each calibration plan the steps that ran between the run's, off
        its clock, again and again; each begins when the run stood still for it.
    """

    engine: str
    policy: str
    steps: Sequence[Step]
    results: Sequence[RequestResult]
    idle_ns: int
    end_ns: int
    complete: bool = True
    notes: Mapping[str, Any] = field(default_factory=dict)
    interleaved: Sequence["Record"] = ()

    @property
    def busy_ns(self) -> int:
        """Time in steps."""
        return sum(step.end_ns - step.start_ns for step in self.steps)

    @property
    def by_index(self) -> dict[int, RequestResult]:
        """Who was served to the end, by index, ascending."""
        return {s.index: s for s in sorted(self.results, key=lambda s: s.index)}

    def split(self) -> tuple["Record", "Record"]:
        """Its steps in two halves, each as a record of nothing else."""
        middle = len(self.steps) // 2
        parts = (self.steps[:middle], self.steps[middle:])
        first, second = (replace(self, steps=steps, results=(), complete=False) for steps in parts)
        return first, second

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps({"lapsd_record": VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The record of such an object.

        Raises
        ------
        ValueError
            If it is none, or of another version.
        """
        return cls._of(versioned(text, "lapsd_record", VERSION))

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> "Record":
        made = {f.name: document[f.name] for f in fields(cls) if f.name in document}
        made["steps"] = [_step(step) for step in document["steps"]]
        made["results"] = [RequestResult(**results) for results in document["results"]]
        made["interleaved"] = tuple(cls._of(record) for record in document.get("interleaved", ()))
        return cls(**made)


def _step(document: Mapping[str, Any]) -> Step:
    moves = [KVTransfer(*move) for move in document["moves"]]
    prefills = [Prefilled(*prefill) for prefill in document["prefills"]]
    return Step(**{**document, "moves": moves, "prefills": prefills})
