"""A process that serves plans with vLLM and writes records: `python -m lapsd.serve.vllm.runner
PLAN.json RECORD.json ...`

Runs in the Python that has vLLM. Without arguments files are read from standard input, with tabs
between: a plan, its record, and any calibration plans whose steps run between its own. Each line is
answered by one on standard output once its record is there: `done`, `interrupted`, or `error` and
why. The engine is started for the first plan and stays while plans are of the same models and
memory.
"""

import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lapsd.serve.clock import Clock
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.vllm.cpu_sampling import repair
from lapsd.serve.vllm.probe import Probe
from lapsd.serve.vllm.scheduler_state import SchedulerState
from lapsd.serve.vllm.settings import Settings
from lapsd.traces.errors import BAD_INPUT, DONE, INTERRUPTED, run_command
from lapsd.traces.files import write_whole

BATCH_SLOTS = 16  # at least, so that plans of few seats share an engine
BLOCK = 32  # tokens; vLLM's CPU kernels take multiples of it
MEMORY = 1 << 30  # bytes of keys and values, unless a plan says how many tokens


@dataclass
class StepClock:
    """A run's clock (`lapsd.serve.vllm.clock.Clock`) with boundaries at the ends of steps: time
    after one is the next's.
    """

    time: Clock
    boundary_ns: int = 0

    def begin(self) -> int:
        return self.boundary_ns

    def end(self) -> int:
        self.boundary_ns = max(self.boundary_ns, self.time.now_ns())
        return self.boundary_ns

    def arrived(self, arrival_s: float) -> int:
        return round(arrival_s * 1e9)

    def idle_until(self, ns: int) -> int:
        """Come to an instant with nothing to do; how much idle time that was."""
        self.time.idle_until(ns)
        idle, self.boundary_ns = ns - self.boundary_ns, ns
        return idle


@dataclass(frozen=True)
class Needs:
    """What an engine must be started for."""

    target: str
    draft: str
    draft_tokens: int
    kv_tokens: int | None
    batch_slots: int

    @classmethod
    def of(cls, plan: Plan) -> "Needs":
        """Of a plan."""
        draft = plan.draft if plan.draft_tokens else ""
        return cls(
            plan.target, draft, plan.draft_tokens, plan.kv_tokens, max(BATCH_SLOTS, plan.batch)
        )


class Runner:
    """Serves one plan after another; a new engine only where the last one does not do."""

    def __init__(self) -> None:
        self._needs: Needs | None = None
        self._engine: Any = None

    def serve(self, plan: Plan, interleaved: Sequence[Plan] = ()) -> Record:
        """Serve a plan from an empty engine to its end, or until interrupted.

        Parameters
        ----------
        interleaved : calibration plans of the same models whose steps run between those of the plan, off
            its clock.

        Raises
        ------
        ValueError
            If vLLM refuses the models, or the plan asks for what it does not have.
        """
        preemption = _preemption(plan)
        if (needs := Needs.of(plan)) != self._needs:
            self._end()
            self._engine = _start(needs)
            self._needs = needs
        engine, scheduler = self._engine, self._engine.engine_core.engine_core.scheduler
        for one in (plan, *interleaved):
            _check_lengths(one, scheduler.max_model_len)
        engine.reset_prefix_cache()
        probe = Probe(engine, interleaved, partial(_begin, scheduler), partial(_add, engine))
        _begin(scheduler, plan)
        clock, idle_ns, complete = scheduler.clock, 0, True
        calibrations: tuple[Record, ...] = ()
        try:
            for idle in _steps(engine, scheduler, plan):
                idle_ns += idle
                probe.after_step(clock)
            calibrations = probe.finish()
        except KeyboardInterrupt:
            complete = False
            engine.abort_request(list(scheduler.decisions.jobs), internal=True)
        finally:
            probe.close()
        if not scheduler.active or scheduler.failed:
            raise ValueError(
                f"policy {plan.policy}: failed, and the run went on without it: {scheduler.failed}"
            )
        notes = _notes(scheduler, preemption)
        return Record(
            "vllm",
            plan.policy,
            scheduler.steps,
            scheduler.results,
            idle_ns,
            clock.boundary_ns,
            complete,
            notes,
            calibrations,
        )

    def _end(self) -> None:
        """End the engine that is there, before another one shares the process with what it
        leaves.
        """
        if self._engine is not None:
            self._engine.engine_core.shutdown()
        self._engine, self._needs = None, None
        gc.collect()


def _begin(scheduler: Any, plan: Plan) -> None:
    """Have the scheduler begin a run of a plan, with a clock of its own."""
    scheduler.max_num_active_reqs = plan.batch
    scheduler.configure(
        Settings(plan.policy, _preemption(plan)), SchedulerState(plan.bound_policy())
    )
    scheduler.forget()
    scheduler.clock = StepClock(Clock(plan.clock))


def _steps(engine: Any, scheduler: Any, plan: Plan) -> Iterator[int]:
    """Add requests as they arrive and step until all are done; yields idle time."""
    coming, clock = 0, scheduler.clock
    while coming < len(plan.requests) or scheduler.get_num_unfinished_requests():
        while coming < len(plan.requests) and plan.requests[coming].arrival_ns <= clock.boundary_ns:
            _add(engine, plan, coming)
            coming += 1
        if scheduler.get_num_unfinished_requests():
            engine.step()
            yield 0
        else:
            yield clock.idle_until(plan.requests[coming].arrival_ns)


def _add(engine: Any, plan: Plan, index: int, prefix: str = "") -> None:
    from vllm import SamplingParams

    planned, config = plan.requests[index], engine.model_config.hf_config
    stops = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    sampling = SamplingParams(
        temperature=plan.temperature,
        seed=plan.seed * 1_000_003 + planned.stream,
        max_tokens=planned.max_new_tokens + 1,
        ignore_eos=True,
        stop_token_ids=[] if plan.ignore_stops else [s for s in stops if s is not None],
        detokenize=False,
        extra_args={"predicted_tokens": planned.predicted_tokens + 1},
    )
    engine.add_request(
        f"{prefix}{index}",
        {"prompt_token_ids": list(planned.prompt)},
        sampling,
        arrival_time=planned.arrival_ns / 1e9,
    )


def _preemption(plan: Plan) -> str:
    """How requests lose their seat: vLLM moves nothing to host memory."""
    if plan.evict == "recompute":
        return "recompute"
    if plan.kv_slots is not None:
        raise ValueError(
            f"kv_slots {plan.kv_slots} with evict {plan.evict}: vLLM swaps nothing out; no kv_slots"
            " keeps blocks (parked), evict recompute frees them"
        )
    return "parked"


def _check_lengths(plan: Plan, context: int) -> None:
    for i, planned in enumerate(plan.requests):
        need = len(planned.prompt) + planned.max_new_tokens + 1
        if need > context:
            raise ValueError(
                f"request {i} ({planned.request_id}): prompt and output may take {need} tokens, but"
                f" the model's context is {context}"
            )


def _start(needs: Needs) -> Any:
    """Start an engine.

    Raises
    ------
    ValueError
        In one line, if vLLM refuses.
    """
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import EngineArgs, LLMEngine

    repair()
    options: dict[str, Any] = {}
    if needs.draft:
        options["speculative_config"] = {
            "model": needs.draft,
            "num_speculative_tokens": needs.draft_tokens,
            "method": "draft_model",
        }
    if needs.kv_tokens is not None:
        options["num_gpu_blocks_override"] = (
            -(-needs.kv_tokens // BLOCK) + 1
        )  # vLLM keeps one for itself
    try:
        arguments = EngineArgs(
            model=needs.target,
            skip_tokenizer_init=True,
            dtype="float32",
            enforce_eager=True,
            disable_log_stats=True,
            block_size=BLOCK,
            kv_cache_memory_bytes=MEMORY,
            max_num_seqs=needs.batch_slots,
            enable_prefix_caching=False,
            scheduler_cls="lapsd.serve.vllm.recording.RecordingScheduler",
            **options,
        )
        return LLMEngine.from_engine_args(arguments)
    except (ValueError, NotImplementedError, RuntimeError, OSError) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"vLLM refuses {needs.target} + {needs.draft or 'no draft'}: {why[:400]}"
        ) from error


def _notes(scheduler: Any, preemption: str) -> dict[str, Any]:
    import vllm

    return {
        "versions": {"vllm": vllm.__version__},
        "preemption": preemption,
        "block_tokens": scheduler.block_size,
        "blocks": scheduler.cache_config.num_gpu_blocks - 1,
        "token_budget": scheduler.max_num_scheduled_tokens,
        "first_token": "prefill emits it; it counts to the prompt",
        "prefix_caching": False,
    }


def _asked(arguments: list[str]) -> Iterable[list[str]]:
    """Each plan's file, its record's, and those of calibration plans."""
    if len(arguments) % 2:
        raise ValueError(f"{len(arguments)} files: plans and records come in pairs")
    if arguments:
        return ([*pair] for pair in zip(arguments[::2], arguments[1::2], strict=True))
    return (line.rstrip("\n").split("\t") for line in sys.stdin)


def run(arguments: list[str]) -> int:
    """Serve the plans that are named, or that come; the exit code."""
    runner, worst = Runner(), DONE
    for plan, record, *interleaved in _asked(arguments):
        try:
            plans = [
                Plan.from_json(Path(path).read_text(encoding="utf-8"))
                for path in (plan, *interleaved)
            ]
            results = runner.serve(plans[0], plans[1:])
        except ValueError as error:
            if arguments:
                raise
            print(f"error\t{error}", flush=True)
            worst = BAD_INPUT
            continue
        text = results.to_json()
        write_whole(Path(record), partial(Path.write_text, data=text, encoding="utf-8"))
        print("done" if results.complete else "interrupted", flush=True)
        if not results.complete:
            return INTERRUPTED
    return worst


if __name__ == "__main__":
    sys.exit(run_command("lapsd.serve.vllm.runner", lambda: run(sys.argv[1:])))
