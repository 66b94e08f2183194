"""A scheduler class that also records each step, in the form of `lapsd.serve.record`.

In vLLM, the last piece of a prompt emits a token. As in traces that are imported from vLLM, it
counts as part of the prompt: the rounds and the output of a request start after it.
"""

from dataclasses import dataclass, field
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import create_request_queue
from vllm.v1.request import Request

from lapsd.serve.record import RequestResult, Step
from lapsd.serve.vllm.scheduler import LapsdScheduler

RUN_ATTRIBUTES = (
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
    "drafts",
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
    """Progress of a request so far; fields as in `lapsd.serve.record.RequestResult`."""

    first_service_ns: int
    prefill_ns: int = 0
    preemptions: int = 0
    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Scheduled:
    """The requests of a step, the best rank first, their contexts and their tokens in this step."""

    requests: list[Request]
    contexts: list[int]
    tokens: list[int]


class RecordingScheduler(LapsdScheduler):
    """Serves and records; steps must not overlap.

    Attributes
    ----------
    steps : list of Step
    results : list of RequestResult
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start_record()

    def start_record(self) -> None:
        """Start a new record."""
        self.steps: list[Step] = []
        self.results: list[RequestResult] = []
        self._tallies: dict[str, Tally] = {}
        self._scheduled = Scheduled([], [], [])

    def suspend(self) -> dict[str, Any]:
        """Return the state of the current run, including its requests, and clear it.

        Afterwards the scheduler has no requests.
        """
        state = {name: getattr(self, name) for name in RUN_ATTRIBUTES}
        none: list[Request] = []
        self.running, self.waiting, self.parked = none, create_request_queue(self.policy), [*none]
        self.places, self.refused = {}, None
        self.start_record()
        return state

    def resume(self, state: dict[str, Any]) -> None:
        """Replace the state of the current run by that of a suspended run."""
        for name, value in state.items():
            setattr(self, name, value)

    def _request_count(self) -> int:
        return sum(self.get_request_counts())

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        before = {r.request_id for r in self._scheduled.requests if not r.is_finished()}
        output = super().schedule(*args, **kwargs)
        scheduled = [
            request for request in self.running if request.request_id in output.num_scheduled_tokens
        ]
        running = sorted(scheduled, key=self.place)
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
                transfers=[],
                prefills=[],
            )
        )
        for request in step.requests:
            if request.is_finished():
                self.results.append(self._done(request, jobs[request.request_id], now_ns))

    def _done(self, request: Request, job: Any, now_ns: int) -> RequestResult:
        tally, output = self._tallies.pop(request.request_id), list(request.output_token_ids)
        # a request that ended with the token of its prefill gets an empty round
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
    """Return the tokens of a request before the step.

    For a request that decodes: its prompt and output. Otherwise: its computed tokens.
    """
    # vLLM has already added the tokens of this step
    computed = request.num_computed_tokens - tokens
    decodes = request.num_output_tokens and computed == request.num_tokens - 1
    return int(request.num_tokens if decodes else computed)
