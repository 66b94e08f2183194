"""Driving vLLM by hand in the tests: requests that arrive at given steps, and what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve.vllm.settings import Settings
from tests.serve.vllm.models import CONTEXT


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
class Served:
    """What came of it: output tokens by name, names in order of completion, and tokens by name of each step."""

    tokens: dict[str, list[int]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    steps: list[dict[str, int]] = field(default_factory=list)


class Engine:
    """One vLLM, which serves by one policy after another."""

    def __init__(self, target: Path, **options: Any) -> None:
        from vllm import EngineArgs, LLMEngine

        settings = {
            "skip_tokenizer_init": True, "dtype": "float32", "max_model_len": CONTEXT, "enforce_eager": True,
            "disable_log_stats": True, "block_size": 32, "kv_cache_memory_bytes": 1 << 26, "max_num_seqs": 2,
            "scheduler_cls": "serve.vllm.LapsdScheduler",
        }  # fmt: skip
        self.engine = LLMEngine.from_engine_args(EngineArgs(model=str(target), **(settings | options)))
        self.scheduler: Any = self.engine.engine_core.engine_core.scheduler  # type: ignore[attr-defined]
        self.scheduled: dict[str, int] = {}
        schedule = self.scheduler.schedule

        def spying(*args: Any, **kwargs: Any) -> Any:
            output = schedule(*args, **kwargs)
            self.scheduled = dict(output.num_scheduled_tokens)
            return output

        self.scheduler.schedule = spying

    def serve(self, asks: Sequence[Ask], **lapsd: Any) -> Served:
        """Serve requests under settings of lapsd's, or as vLLM does where none is given."""
        if lapsd:
            self.scheduler.configure(Settings.of(lapsd))
        else:
            self.scheduler.active = False
        return self.drive(asks)

    def drive(self, asks: Sequence[Ask]) -> Served:
        """Add each request before its step, until all are done."""
        found, coming, names = Served(), sorted(asks, key=lambda ask: ask.step), dict[str, str]()
        step = 0
        while coming or self.engine.has_unfinished_requests():
            while coming and coming[0].step <= step:
                ask = coming.pop(0)
                names[self.add(ask)] = ask.name
            self.step(found, names)
            step += 1
            assert step < 5000, "no progress"
        return found

    def add(self, ask: Ask) -> str:
        """Add a request; returns the name that the scheduler has for it."""
        from vllm import SamplingParams

        sampling = SamplingParams(temperature=0, max_tokens=ask.tokens, ignore_eos=True, detokenize=False,
                                  extra_args=ask.extra)  # fmt: skip
        return self.engine.add_request(ask.name, {"prompt_token_ids": list(ask.prompt)}, sampling)

    def step(self, found: Served, names: Mapping[str, str]) -> None:
        """One step, and who ran in it."""
        outputs = self.engine.step()
        found.steps.append({names.get(key, key): tokens for key, tokens in self.scheduled.items()})
        for output in outputs:
            if output.finished:
                found.tokens[output.request_id] = list(output.outputs[0].token_ids)
                found.order.append(output.request_id)
