"""Records of live runs: every step of the server, and the result of each request.

Times are integer nanoseconds on the clock of the run, which starts at 0. A step is one decision and
the work that follows it: KV transfers, prompts, then a round (in vLLM, one step of the engine). All
time between two decisions belongs to the step between them; idle time ends exactly at an arrival.
Plain data, with a JSON form.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

from lapsd.serve.plan import versioned

VERSION = 2


class KVTransfer(NamedTuple):
    """A KV transfer before a round.

    `kind` is `swap out`, `swap in` or `recompute`; `tokens` is the number of cached tokens.
    """

    kind: str
    request: int
    tokens: int
    ns: int


class Prefilled(NamedTuple):
    """A prompt that was computed before a round in its own pass; `tokens` were cached."""

    request: int
    tokens: int
    ns: int


@dataclass(frozen=True)
class Step:
    """A decision and the work that followed it.

    `contexts`, `scheduled`, `accepted` and `emitted` have one entry per entry of `running`.

    Attributes
    ----------
    start_ns, end_ns : int
    running : sequence of int
        Indices of the running requests, the best rank first.
    transfers : sequence of KVTransfer
    prefills : sequence of Prefilled
    round_ns : int
        Time of the step without its KV transfers and prompts.
    contexts : sequence of int
        Tokens of each request before the round: its prompt and output; for an unfinished prompt,
        its cached tokens.
    scheduled : sequence of int
        Tokens that the target processed for each request: the draft tokens and one more, or a
        piece of a prompt. Without the padding of requests whose drafts are shorter than others.
    accepted, emitted : sequence of int
        Draft tokens that became output, and output tokens.
    draft_ns, verify_ns : int
        Parts of the round; 0 where the engine does not measure them.
    """

    start_ns: int
    end_ns: int
    running: Sequence[int]
    round_ns: int
    contexts: Sequence[int]
    scheduled: Sequence[int]
    accepted: Sequence[int]
    emitted: Sequence[int]
    transfers: Sequence[KVTransfer] = ()
    prefills: Sequence[Prefilled] = ()
    draft_ns: int = 0
    verify_ns: int = 0

    def moved_to(self, start_ns: int) -> "Step":
        """Return the same step with another start time."""
        return replace(self, start_ns=start_ns, end_ns=start_ns + self.end_ns - self.start_ns)


@dataclass(frozen=True)
class RequestResult:
    """The result of a finished request.

    Attributes
    ----------
    index : int
        Its position in the plan.
    arrival_ns, first_service_ns, finish_ns : int
        First service is the time when its prompt started.
    prefill_ns, service_ns, switch_ns : int
        Time of its prompt, of its rounds, and of its KV transfers.
    preemptions : int
        Number of times it was preempted.
    tokens : sequence of int
        Output token ids.
    drafted, accepted : sequence of int
        Draft tokens of each round, and how many of them are part of the output.
    accept_prob : sequence of float
        As in `lapsd.traces.Trace`, from a pass over the finished output; empty unless a draft
        policy chose the draft lengths.
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
    accept_prob: Sequence[float] = field(default_factory=list)

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
        The policy of the plan.
    steps : sequence of Step, in order
    results : sequence of RequestResult, in order of finish
    idle_ns, end_ns : int
    complete : bool
        False: interrupted; requests that did not finish are missing from `results`.
    notes : mapping
        Further facts from the engine, such as versions.
    interleaved : sequence of Record
        One record per calibration plan: the steps that ran between the steps of this run while its
        clock was stopped. Each plan is served repeatedly. The start of a step is the time at which
        the clock of this run was stopped for it.
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
        """Results by request index, ascending."""
        return {s.index: s for s in sorted(self.results, key=lambda s: s.index)}

    def split(self) -> tuple["Record", "Record"]:
        """Return two records that hold only the first and the second half of the steps."""
        middle = len(self.steps) // 2
        parts = (self.steps[:middle], self.steps[middle:])
        first, second = (replace(self, steps=steps, results=(), complete=False) for steps in parts)
        return first, second

    def to_json(self) -> str:
        """Return the record as a JSON object."""
        return json.dumps({"lapsd_record": VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Return the record of an object that `to_json` returned.

        Raises
        ------
        ValueError
            If the text is not such an object, or has another version.
        """
        return cls._of(versioned(text, "lapsd_record", VERSION))

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> "Record":
        made = {f.name: document[f.name] for f in fields(cls) if f.name in document}
        made["steps"] = [_step(step) for step in document["steps"]]
        made["results"] = [RequestResult(**result) for result in document["results"]]
        made["interleaved"] = tuple(cls._of(record) for record in document.get("interleaved", ()))
        return cls(**made)


def _step(document: Mapping[str, Any]) -> Step:
    transfers = [KVTransfer(*transfer) for transfer in document["transfers"]]
    prefills = [Prefilled(*prefill) for prefill in document["prefills"]]
    return Step(**{**document, "transfers": transfers, "prefills": prefills})
