"""Driving vLLM by hand in the tests: requests that arrive at given steps, and what became of
them.
"""

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
class Ask:
    """A request: how many tokens, when it comes (in steps), and what is foretold of it."""

    name: str
    tokens: int
    prompt: Sequence[int] = (3, 5, 7)
    step: int = 0
    predicted: int | None = None

    @property
    def extra(self) -> dict[str, int] | None:
        return None if self.predicted is None else {"predicted_tokens": self.predicted}


@dataclass
class RequestResult:
    """What came of it.

    Attributes
    ----------
    tokens : output tokens by name.
    order : names in order of completion.
    steps : tokens that each step went over, by name.
    parked : who was parked in each step.
    rounds : (drafted, accepted) of each speculative step, as vLLM counts them, by name.
    """

    tokens: dict[str, list[int]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    steps: list[dict[str, int]] = field(default_factory=list)
    parked: list[set[str]] = field(default_factory=list)
    rounds: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


class Engine:
    """One vLLM, which serves by one policy after another.

    Attributes
    ----------
    names : what the asks are called, by the name that the scheduler has for them.
    jealous : (step, who ran, who waited) wherever somebody who waits ranks before somebody who
    runs.
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
        self.found, self.jealous = RequestResult(), list[tuple[int, str, str]]()
        self._schedule, self.scheduler.schedule = self.scheduler.schedule, self._watched

    def serve(
        self, asks: Sequence[Ask], context: PolicyContext = CONTEXT, **lapsd: Any
    ) -> RequestResult:
        """Serve requests under settings of lapsd's, or as vLLM does where none is given."""
        self.begin()
        if lapsd:
            policy = parse_policy(lapsd["policy"]).bind(context)
            self.scheduler.configure(Settings.of(lapsd), SchedulerState(policy))
        else:
            self.scheduler.active = False
        coming, step = sorted(asks, key=lambda ask: ask.step), 0
        while coming or self.engine.has_unfinished_requests():
            while coming and coming[0].step <= step:
                self.add(coming.pop(0))
            self.step()
            step += 1
            assert step < 5000, "no progress"
        return self.found

    def begin(self) -> None:
        """Forget what was seen, and whom a test that failed left behind."""
        self.engine.abort_request(list(self.engine.output_processor.request_states), internal=True)
        self.found, self.jealous, self.names = RequestResult(), [], {}

    def add(self, ask: Ask) -> str:
        """Add a request; returns the name that the scheduler has for it."""
        from vllm import SamplingParams

        sampling = SamplingParams(
            temperature=0,
            max_tokens=ask.tokens,
            ignore_eos=True,
            detokenize=False,
            extra_args=ask.extra,
        )
        key = self.engine.add_request(ask.name, {"prompt_token_ids": list(ask.prompt)}, sampling)
        self.names[key] = ask.name
        return key

    def step(self) -> None:
        """One step."""
        for output in self.engine.step():
            if output.finished:
                answer = output.outputs[0]
                self.found.tokens[output.request_id] = list(answer.token_ids)
                self.found.order.append(output.request_id)
                if (metrics := answer.spec_decode_metrics) is not None:
                    rounds = zip(metrics.per_step_drafted, metrics.per_step_accepted, strict=True)
                    self.found.rounds[output.request_id] = list(rounds)

    def _watched(self, *args: Any, **kwargs: Any) -> Any:
        scheduler = self.scheduler
        jobs = list(scheduler.decisions.jobs.values()) if scheduler.active else []
        ranks: dict[str, Any] = {}
        with suppress(ZeroDivisionError):  # of a policy that is made to fail
            ranks = {job.request_id: scheduler.decisions.policy.rank(job, 0) for job in jobs}
        output = self._schedule(*args, **kwargs)
        ran = output.num_scheduled_tokens
        waits = ranks.keys() - ran.keys()
        step = len(self.found.steps)
        with suppress(TypeError):
            self.jealous += [
                (step, r, w) for r in ran for w in waits if r in ranks and ranks[w] < ranks[r]
            ]
        self.found.steps.append({self.names.get(key, key): tokens for key, tokens in ran.items()})
        self.found.parked.append({self.names[request.request_id] for request in scheduler.parked})
        return output
