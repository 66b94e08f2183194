"""Serves requests with vLLM in the tests: they arrive at given steps, and results are recorded."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lapsd.policies import PolicyContext, parse_policy
from lapsd.serve.vllm.scheduler_state import SchedulerState
from lapsd.serve.vllm.settings import Settings
from tests.serve.vllm.models import CONTEXT_TOKENS

MS = 1_000_000
CONTEXT = PolicyContext(MS, [20 * MS, 40 * MS, 80 * MS])


@dataclass(frozen=True)
class TimedRequest:
    """A request: its output tokens, the step of its arrival, and its predicted output tokens."""

    name: str
    tokens: int
    prompt: Sequence[int] = (3, 5, 7)
    step: int = 0
    predicted: int | None = None

    @property
    def extra(self) -> dict[str, int] | None:
        return None if self.predicted is None else {"predicted_tokens": self.predicted}


@dataclass
class Served:
    """The results of all requests.

    Attributes
    ----------
    tokens : output tokens by name.
    order : names in the order of completion.
    steps : tokens of each request in each step, by name.
    parked : names of the parked requests in each step.
    rounds : (drafted, accepted) of each speculative step, as vLLM counts them, by name.
    """

    tokens: dict[str, list[int]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    steps: list[dict[str, int]] = field(default_factory=list)
    parked: list[set[str]] = field(default_factory=list)
    rounds: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


class Engine:
    """A vLLM engine, which serves under one policy after another.

    Attributes
    ----------
    names : names of the requests, by their ids in the scheduler.
    inversions : (step, running id, waiting id) for each waiting request with a better rank than a
        running one.
    """

    def __init__(self, target: Path, **options: Any) -> None:
        from vllm import EngineArgs, LLMEngine

        settings = {
            "skip_tokenizer_init": True,
            "dtype": "float32",
            "max_model_len": CONTEXT_TOKENS,
            "enforce_eager": True,
            "disable_log_stats": True,
            "block_size": 32,
            "kv_cache_memory_bytes": 1 << 26,
            "max_num_seqs": 2,
            "scheduler_cls": "lapsd.serve.vllm.LapsdScheduler",
        }
        if "speculative_config" in options:
            settings["per_request_spec_decode_metrics"] = "detailed"
        self.engine = LLMEngine.from_engine_args(
            EngineArgs(model=str(target), **(settings | options))
        )
        self.scheduler: Any = self.engine.engine_core.engine_core.scheduler  # type: ignore[attr-defined]
        self.names: dict[str, str] = {}
        self.served, self.inversions = Served(), list[tuple[int, str, str]]()
        self._schedule, self.scheduler.schedule = self.scheduler.schedule, self._watched

    def serve(
        self, requests: Sequence[TimedRequest], context: PolicyContext = CONTEXT, **lapsd: Any
    ) -> Served:
        """Serve requests with settings of lapsd; without any, as vLLM does by itself."""
        self.begin()
        if lapsd:
            policy = parse_policy(lapsd["policy"]).bind(context)
            self.scheduler.configure(Settings.of(lapsd), SchedulerState(policy))
        else:
            self.scheduler.active = False
        coming, step = sorted(requests, key=lambda request: request.step), 0
        while coming or self.engine.has_unfinished_requests():
            while coming and coming[0].step <= step:
                self.add(coming.pop(0))
            self.step()
            step += 1
            assert step < 5000, "the requests make no progress"
        return self.served

    def begin(self) -> None:
        """Reset the results, and abort requests that a failed test left in the engine."""
        self.engine.abort_request(list(self.engine.output_processor.request_states), internal=True)
        self.served, self.inversions, self.names = Served(), [], {}

    def add(self, request: TimedRequest) -> str:
        """Add a request; return its id in the scheduler."""
        from vllm import SamplingParams

        sampling = SamplingParams(
            temperature=0,
            max_tokens=request.tokens,
            ignore_eos=True,
            detokenize=False,
            extra_args=request.extra,
        )
        key = self.engine.add_request(
            request.name, {"prompt_token_ids": list(request.prompt)}, sampling
        )
        self.names[key] = request.name
        return key

    def step(self) -> None:
        """Run one step and record finished requests."""
        for output in self.engine.step():
            if output.finished:
                answer = output.outputs[0]
                self.served.tokens[output.request_id] = list(answer.token_ids)
                self.served.order.append(output.request_id)
                if (metrics := answer.spec_decode_metrics) is not None:
                    rounds = zip(metrics.per_step_drafted, metrics.per_step_accepted, strict=True)
                    self.served.rounds[output.request_id] = list(rounds)

    def _watched(self, *args: Any, **kwargs: Any) -> Any:
        scheduler = self.scheduler
        jobs = list(scheduler.decisions.jobs.values()) if scheduler.active else []
        ranks: dict[str, Any] = {}
        with suppress(ZeroDivisionError):  # raised by `mine.Failing`
            ranks = {job.request_id: scheduler.decisions.policy.rank(job, 0) for job in jobs}
        output = self._schedule(*args, **kwargs)
        ran = output.num_scheduled_tokens
        waits = ranks.keys() - ran.keys()
        step = len(self.served.steps)
        with suppress(TypeError):
            self.inversions += [
                (step, r, w) for r in ran for w in waits if r in ranks and ranks[w] < ranks[r]
            ]
        self.served.steps.append({self.names.get(key, key): tokens for key, tokens in ran.items()})
        self.served.parked.append({self.names[parked.request_id] for parked in scheduler.parked})
        return output
