"""A process that serves plans with vLLM and writes records: `python -m lapsd.serve.vllm.runner
PLAN.json RECORD.json ...`

Runs in the Python environment that has vLLM. Without arguments it reads lines from standard input.
Each line has file names separated by tabs: a plan, its record, and calibration plans whose steps
run between the steps of the plan. When the record is written, the process answers with a line on
standard output: `done`, `interrupted`, or `error` and a message. The engine is started for the
first plan and kept while plans need the same models and memory.
"""

import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lapsd.policies.kv_slots import slot_limit
from lapsd.serve.clock import Clock
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.vllm.cpu_sampling import repair
from lapsd.serve.vllm.probe import Probe
from lapsd.serve.vllm.scheduler_state import SchedulerState
from lapsd.serve.vllm.settings import Settings
from lapsd.traces.errors import BAD_INPUT, DONE, INTERRUPTED, run_command
from lapsd.traces.files import write_whole

BATCH_SLOTS = 16  # the minimum, so that plans with small batches share an engine
BLOCK = 32  # tokens; vLLM's CPU kernels need a multiple of 32
MEMORY = 1 << 30  # bytes of keys and values, if the plan does not limit KV tokens


@dataclass
class StepClock:
    """The clock of a run, with boundaries at the ends of steps.

    Time after the end of a step belongs to the next one. Implements
    `lapsd.serve.vllm.clock.Clock`.
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
        """Wait until an instant, or skip to it; return the idle time in nanoseconds."""
        self.time.idle_until(ns)
        idle, self.boundary_ns = ns - self.boundary_ns, ns
        return idle


@dataclass(frozen=True)
class EngineConfiguration:
    """The configuration that an engine is started with."""

    target: str
    draft: str
    draft_tokens: int
    kv_tokens: int | None
    batch_slots: int

    @classmethod
    def of(cls, plan: Plan) -> "EngineConfiguration":
        """Return the configuration that a plan configuration."""
        draft = plan.draft if plan.draft_tokens else ""
        return cls(
            plan.target, draft, plan.draft_tokens, plan.kv_tokens, max(BATCH_SLOTS, plan.batch)
        )


class Runner:
    """Serves one plan after another; starts a new engine only for another configuration."""

    def __init__(self) -> None:
        self._configuration: EngineConfiguration | None = None
        self._engine: Any = None

    def serve(self, plan: Plan, interleaved: Sequence[Plan] = ()) -> Record:
        """Serve a plan from an empty engine until all its requests finish, or until interrupted.

        Parameters
        ----------
        interleaved : calibration plans of the same models whose steps run between the steps of
            the plan while the clock of the plan is stopped.

        Raises
        ------
        ValueError
            If vLLM refuses the models or cannot serve the plan, or if the policy fails.
        """
        preemption = _preemption(plan)
        if (configuration := EngineConfiguration.of(plan)) != self._configuration:
            self._end()
            self._engine = _start(configuration)
            self._configuration = configuration
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
                f"policy {plan.policy}: failed, and the run continued without it:"
                f" {scheduler.failed}"
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
        """Shut down the current engine and free its memory, before another one starts."""
        if self._engine is not None:
            self._engine.engine_core.shutdown()
        self._engine, self._configuration = None, None
        gc.collect()


def _begin(scheduler: Any, plan: Plan) -> None:
    """Make the scheduler start a run of a plan, with a new clock."""
    scheduler.max_num_active_reqs = plan.batch
    scheduler.configure(
        Settings(plan.policy, _preemption(plan)), SchedulerState(plan.bound_policy())
    )
    scheduler.start_record()
    scheduler.clock = StepClock(Clock(plan.clock))


def _steps(engine: Any, scheduler: Any, plan: Plan) -> Iterator[int]:
    """Add requests as they arrive and run steps until all finish; yield the idle time of each."""
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

    request, config = plan.requests[index], engine.model_config.hf_config
    stops = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    sampling = SamplingParams(
        temperature=plan.temperature,
        seed=plan.seed * 1_000_003 + request.stream,
        max_tokens=request.max_new_tokens + 1,
        ignore_eos=True,
        stop_token_ids=[] if plan.ignore_stops else [s for s in stops if s is not None],
        detokenize=False,
        extra_args={"predicted_tokens": request.predicted_tokens + 1},
    )
    engine.add_request(
        f"{prefix}{index}",
        {"prompt_token_ids": list(request.prompt)},
        sampling,
        arrival_time=request.arrival_ns / 1e9,
    )


def _preemption(plan: Plan) -> str:
    """Return the preemption setting for a plan; vLLM cannot swap caches to host memory."""
    if plan.evict == "recompute":
        return "recompute"
    if slot_limit(plan.kv_slots, plan.batch) is not None:
        raise ValueError(
            f"kv_slots {plan.kv_slots} with evict {plan.evict}: vLLM cannot swap out caches: choose"
            " kv_slots unlimited (preempted requests keep their blocks) or evict recompute (they"
            " lose them)"
        )
    return "parked"


def _check_lengths(plan: Plan, context: int) -> None:
    for i, request in enumerate(plan.requests):
        need = len(request.prompt) + request.max_new_tokens + 1
        if need > context:
            raise ValueError(
                f"request {i} ({request.request_id}): prompt and output may take {need} tokens, but"
                f" the context of the model is {context}"
            )


def _start(configuration: EngineConfiguration) -> Any:
    """Start an engine.

    Raises
    ------
    ValueError
        If vLLM refuses the configuration; the message is one line.
    """
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import EngineArgs, LLMEngine

    repair()
    options: dict[str, Any] = {}
    if configuration.draft:
        options["speculative_config"] = {
            "model": configuration.draft,
            "num_speculative_tokens": configuration.draft_tokens,
            "method": "draft_model",
        }
    if configuration.kv_tokens is not None:
        # vLLM reserves one block
        options["num_gpu_blocks_override"] = -(-configuration.kv_tokens // BLOCK) + 1
    try:
        arguments = EngineArgs(
            model=configuration.target,
            skip_tokenizer_init=True,
            dtype="float32",
            enforce_eager=True,
            disable_log_stats=True,
            block_size=BLOCK,
            kv_cache_memory_bytes=MEMORY,
            max_num_seqs=configuration.batch_slots,
            enable_prefix_caching=False,
            scheduler_cls="lapsd.serve.vllm.recording.RecordingScheduler",
            **options,
        )
        return LLMEngine.from_engine_args(arguments)
    except (ValueError, NotImplementedError, RuntimeError, OSError) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"vLLM refuses {configuration.target} + {configuration.draft or 'no draft'}:"
            f" {why[:400]}"
        ) from error


def _notes(scheduler: Any, preemption: str) -> dict[str, Any]:
    import vllm

    return {
        "versions": {"vllm": vllm.__version__},
        "preemption": preemption,
        "block_tokens": scheduler.block_size,
        "blocks": scheduler.cache_config.num_gpu_blocks - 1,
        "token_budget": scheduler.max_num_scheduled_tokens,
        "first_token": "prefill emits it; it counts as part of the prompt",
        "prefix_caching": False,
    }


def _file_names(arguments: list[str]) -> Iterable[list[str]]:
    """Return, for each plan, the file names of the plan, its record and its calibration plans."""
    if len(arguments) % 2:
        raise ValueError(f"{len(arguments)} files: plans and records come in pairs")
    if arguments:
        return ([*pair] for pair in zip(arguments[::2], arguments[1::2], strict=True))
    return (line.rstrip("\n").split("\t") for line in sys.stdin)


def run(arguments: list[str]) -> int:
    """Serve the plans named in `arguments` or on standard input; return the exit code."""
    runner, worst = Runner(), DONE
    for plan, record, *interleaved in _file_names(arguments):
        try:
            plans = [
                Plan.from_json(Path(path).read_text(encoding="utf-8"))
                for path in (plan, *interleaved)
            ]
            result = runner.serve(plans[0], plans[1:])
        except ValueError as error:
            if arguments:
                raise
            print(f"error\t{error}", flush=True)
            worst = BAD_INPUT
            continue
        text = result.to_json()
        write_whole(Path(record), partial(Path.write_text, data=text, encoding="utf-8"))
        print("done" if result.complete else "interrupted", flush=True)
        if not result.complete:
            return INTERRUPTED
    return worst


if __name__ == "__main__":
    sys.exit(run_command("lapsd.serve.vllm.runner", lambda: run(sys.argv[1:])))
