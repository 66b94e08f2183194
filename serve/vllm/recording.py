"""The scheduler class that also writes down what each step did, as `lapsd.serve.record` has it.

vLLM's last piece of a prompt emits a token. It counts to the prompt, as in traces that are imported
from vLLM: a request's rounds and output begin after it.
"""

from dataclasses import dataclass, field
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import create_request_queue
from vllm.v1.request import Request

from lapsd.serve.record import RequestResult, Step
from lapsd.serve.vllm.scheduler import LapsdScheduler

OF_A_RUN = (
    "running",
    "waiting",
    "parked",
    "places",
    "refused",
    "max_num_active_reqs",
    "clock",
    "active",
    "settings",
    "decisions",
    "failed",
    "ended_ns",
    "_known",
    "_begun",
    "steps",
    "results",
    "_tallies",
    "_scheduled",
)


@dataclass
class Tally:
    """What a request has had so far; times as in `lapsd.serve.record.RequestResult`."""

    first_service_ns: int
    prefill_ns: int = 0
    preemptions: int = 0
    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Scheduled:
    """What a step was given: requests, the best first, their contexts, and the tokens that it goes
    over for each.
    """

    requests: list[Request]
    contexts: list[int]
    tokens: list[int]


class RecordingScheduler(LapsdScheduler):
    """Serves and remembers; steps must follow each other.

    Attributes
    ----------
    steps : list of Step
    results : list of Served
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.forget()

    def forget(self) -> None:
        """Begin a record of its own."""
        self.steps: list[Step] = []
        self.results: list[RequestResult] = []
        self._tallies: dict[str, Tally] = {}
        self._scheduled = Scheduled([], [], [])

    def put_by(self) -> dict[str, Any]:
        """Put by all that belongs to a run, its requests among it; the scheduler is as if nobody
        had come.
        """
        book = {name: getattr(self, name) for name in OF_A_RUN}
        none: list[Request] = []
        self.running, self.waiting, self.parked = none, create_request_queue(self.policy), [*none]
        self.places, self.refused = {}, None
        self.forget()
        return book

    def take_up(self, book: dict[str, Any]) -> None:
        """Go on with a run that was put by, in place of the one that is there."""
        for name, value in book.items():
            setattr(self, name, value)

    def _there(self) -> int:
        return sum(self.get_request_counts())

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        before = {r.request_id for r in self._scheduled.requests if not r.is_finished()}
        output = super().schedule(*args, **kwargs)
        there = [
            request for request in self.running if request.request_id in output.num_scheduled_tokens
        ]
        running = sorted(there, key=self.place)
        tokens = [output.num_scheduled_tokens[request.request_id] for request in running]
        contexts = [_context(*pair) for pair in zip(running, tokens, strict=True)]
        for request_id in before.difference(request.request_id for request in self.running):
            self._tallies[request_id].preemptions += 1
        self._scheduled = Scheduled(running, contexts, tokens)
        return output

    def _commit(self, output: SchedulerOutput, before: dict[Request, int]) -> None:
        begun_ns, jobs = self._begun[id(output)], dict(self.decisions.jobs)
        super()._commit(output, before)
        now_ns, step = self.ended_ns, self._scheduled
        if not step.requests:
            return
        emitted = [
            request.num_output_tokens - before[request] if before[request] else 0
            for request in step.requests
        ]
        for request, count in zip(step.requests, emitted, strict=True):
            tally = self._tallies.setdefault(request.request_id, Tally(begun_ns))
            if count:
                tally.drafted.append(
                    max(
                        len(output.scheduled_spec_decode_tokens.get(request.request_id, ())),
                        count - 1,
                    )
                )
                tally.accepted.append(count - 1)
            elif not before[request]:
                tally.prefill_ns += now_ns - begun_ns
        indices = [jobs[request.request_id].index for request in step.requests]
        self.steps.append(
            Step(
                begun_ns,
                now_ns,
                indices,
                now_ns - begun_ns,
                step.contexts,
                step.tokens,
                accepted=[max(0, count - 1) for count in emitted],
                emitted=emitted,
                moves=[],
                prefills=[],
            )
        )
        for request in step.requests:
            if request.is_finished():
                self.results.append(self._done(request, jobs[request.request_id], now_ns))

    def _done(self, request: Request, job: Any, now_ns: int) -> RequestResult:
        tally, output = self._tallies.pop(request.request_id), list(request.output_token_ids)
        # who ends with the token of its prompt has a round of nothing, so that it has an end
        drafted, accepted = (tally.drafted, tally.accepted) if tally.drafted else ([0], [0])
        return RequestResult(
            job.index,
            job.arrival_ns,
            tally.first_service_ns,
            now_ns,
            tally.prefill_ns,
            job.service_ns,
            0,
            tally.preemptions,
            output[1:] or output,
            drafted,
            accepted,
        )


def _context(request: Request, tokens: int) -> int:
    """Tokens before the step: prompt and output of one who decodes, what is computed of one who
    does not.
    """
    computed = request.num_computed_tokens - tokens  # vLLM has counted the step already
    decodes = request.num_output_tokens and computed == request.num_tokens - 1
    return int(request.num_tokens if decodes else computed)
