"""How fast the simulator is, as ratios to bare SimPy timeouts timed in the same process.

A machine's speed, and what else it is doing, cancel in a ratio, so bare timeouts are timed before
and after each run. Workloads are LAPS-SD's at load 0.8 with noisy lengths, unless a figure says
otherwise.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import simpy

from lapsd.policies import FCFS, LapsSD, Policy
from lapsd.sim.experiment.metrics import record_metrics
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import Runs, run
from lapsd.traces import Profile, Trace, load_profile, load_trace

TIMEOUTS = 100_000
REPEATS, TOGETHER = 5, 5
POLICY = LapsSD()


class Figure(NamedTuple):
    """A figure's meaning, and what it must not exceed or fall below."""

    key: str
    meaning: str
    bound: float
    at_most: bool


# (in words, settings) by figure; 0.01 of bare timeouts is 20,000 iterations a second where those
# run at 2 M/s. Ordinary requests, first come, first served, 64 together in memory for as many of
# mean length, at load 1.2.
MEMORIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "tokens": ("tokens", {"memory": "tokens"}),
    "reserve": ("reserved at admission", {"memory": "reserve:output=oracle"}),
    "mixed": (
        "reserved, prompts whole in shared steps",
        {"memory": "reserve:output=oracle", "prefill": "mixed"},
    ),
    "paged": ("blocks", {"memory": "paged"}),
    "chunked": (
        "blocks, prompts in chunks",
        {"memory": "paged", "evict": "recompute", "prefill": "chunked"},
    ),
    "fastserve": ("FastServe's", {"memory": "fastserve"}),
    "alise": ("ALISE's", {"memory": "alise"}),
}

# Bounds guard what two-core machines held, of the bundled trace: its requests have 38 rounds on
# average, and of longer ones there are more rounds and iterations a second.
FIGURES = (
    Figure("timeouts_per_request", "bare timeouts that a request costs, b = 1", 21, True),
    Figure(
        "rounds_over_timeouts", "rounds a second over bare timeouts a second, b = 1", 1.8, False
    ),
    Figure(
        "skip_over_step",
        "time of stepping through every round over that of skipping, b = 1",
        8,
        False,
    ),
    Figure("cost_growth", "cost of a request among 10^6 over that among 10^4", 1.3, True),
    Figure("peak_memory_bytes", "peak memory of a process that serves 10^6 requests", 1e9, True),
    Figure(
        "giant_queue", "cost of a request when 10^5 come at once over that at load 0.8", 3, True
    ),
    Figure(
        "batch16_over_timeouts",
        "iterations a second at b = 16 over bare timeouts a second",
        0.1,
        False,
    ),
    Figure(
        "batch16_irregular", "the same where draft lengths differ from round to round", 0.035, False
    ),
    *(
        Figure(
            f"memory_{name}",
            f"the same, 64 ordinary requests in tight memory: {words}",
            0.01,
            False,
        )
        for name, (words, _) in MEMORIES.items()
    ),
    Figure(
        "paper_run_ms",
        "a run of 30 requests with its metrics, ms where bare timeouts run at 2 M/s",
        0.5,
        True,
    ),
    Figure("paper_run_in_timeouts", "the same in bare timeouts", 1000, True),
    Figure("startup_s", "`lapsd compare` to the first simulated event, s", 1, True),
)


def bare_timeouts_per_s(count: int = TIMEOUTS) -> float:
    """Timeouts a second of one SimPy process that does nothing else."""
    env = simpy.Environment()

    def process() -> Any:
        timeout = env.timeout
        for _ in range(count):
            yield timeout(1)

    started = time.perf_counter()
    env.run(env.process(process()))
    return count / (time.perf_counter() - started)


def in_timeouts(run: Callable[[], Any], repeats: int = REPEATS) -> float:
    """What a call takes in bare timeouts: the median of repeats, each against timeouts before and
    after it.
    """
    ratios = []
    before = bare_timeouts_per_s()
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        took = time.perf_counter() - started
        after = bare_timeouts_per_s()
        ratios.append(took * (before + after) / 2)
        before = after
    return median(ratios)


def ready(trace: Trace, profile: Profile, requests: int, **scenario: Any) -> PreparedScenario:
    """A stage whose workload is drawn: so many requests with noisy lengths, at load 0.8 unless said
    otherwise.
    """
    prepared = PreparedScenario.of(
        trace, profile, requests=requests, length_predictor="noisy:0.5", **scenario
    )
    prepared.workload(0)
    return prepared


def timeouts_per_request(
    prepared: PreparedScenario,
    policy: Policy = POLICY,
    repeats: int = REPEATS,
    *,
    skip: bool = True,
) -> float:
    """What a request costs."""
    run(prepared, policy, 0)  # what is remembered of trace rows is remembered
    return (
        in_timeouts(lambda: run(prepared, policy, 0, skip=skip), repeats)
        / prepared.scenario.requests
    )


def iterations_over_timeouts(prepared: PreparedScenario, policy: Policy = POLICY) -> float:
    """Iterations a second over bare timeouts a second."""
    iterations = run(prepared, policy, 0).rounds
    return iterations / prepared.scenario.requests / timeouts_per_request(prepared, policy)


def in_tight_memory(**memory: Any) -> PreparedScenario:
    """A stage of ordinary requests, 64 together, overloaded, in memory for as many of mean
    length.
    """
    trace, profile = load_trace("azure-conversations"), load_profile("opt-13b-a100")
    tokens = int((trace.prompt_tokens + trace.output_tokens).mean() * 64)
    scenario = {"batch": 64, "load": 1.2, "kv_tokens": tokens, "prefill": "batched", **memory}
    return ready(trace, profile, 1_000, **scenario)


def paper_run(prepared: PreparedScenario, seeds: int) -> float:
    """A run with its metrics in bare timeouts, `TOGETHER` policies' a workload as in sweeps;
    drawing not counted.
    """
    stages = [
        PreparedScenario(prepared.scenario, prepared.trace, prepared.split) for _ in range(seeds)
    ]  # each keeps a workload

    def runs() -> None:
        for seed, own in enumerate(stages):
            done = [run(own, POLICY, seed) for _ in range(TOGETHER)]
            record_metrics(Runs(own, own.workload(seed), done))

    runs()
    return in_timeouts(runs) / (seeds * TOGETHER)


def with_irregular_drafts(trace: Trace) -> Trace:
    """A trace's acceptances with draft lengths as assisted generation chooses them, though never
    below what stood.

    Two more after a round whose drafts were all accepted, else one less, from five on.
    """
    drafted = []
    for row in range(len(trace)):
        length = 5
        for accepted in trace.accepted[trace.rounds_of(row)].tolist():
            length = max(length, accepted)
            drafted.append(length)
            length = length + 2 if accepted == length else max(1, length - 1)
    return replace(trace, drafted=np.array(drafted, dtype=np.int64))


def bench(
    trace: Trace,
    profile: Profile,
    *,
    quick: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """Every figure of `FIGURES`, by key.

    Parameters
    ----------
    quick : a hundredth of the requests where a figure needs very many, for a first look: growth and
        memory are then of 10^4 requests and mean nothing.
    """
    scale = 100 if quick else 1
    progress("requests and rounds")
    usual = ready(trace, profile, 10_000)
    rounds = (
        int(usual.split.test.trace.rounds[usual.workload(0).rows].sum()) / usual.scenario.requests
    )
    cost = timeouts_per_request(usual)
    progress("stepping")
    short = ready(trace, profile, 2_000)
    skipping = timeouts_per_request(short)
    stepping = timeouts_per_request(short, repeats=1 if quick else 3, skip=False)
    progress("a giant queue")
    giant = timeouts_per_request(
        ready(trace, profile, 100_000 // scale, all_at_once=True), repeats=1
    )
    progress("batches of 16")
    batched = iterations_over_timeouts(ready(trace, profile, 5_000, batch=16))
    progress("batches of 16, draft lengths that differ")
    irregular = iterations_over_timeouts(
        ready(with_irregular_drafts(trace), profile, 2_000, batch=16)
    )
    tight = {}
    for name, (words, settings) in MEMORIES.items():
        progress(f"tight memory: {words}")
        tight[f"memory_{name}"] = iterations_over_timeouts(in_tight_memory(**settings), FCFS())
    progress("the paper's runs")
    paper = paper_run(ready(trace, profile, 30), 20 if quick else 60)
    progress("a million requests")
    growth, memory = _in_another_process(trace, profile, 1_000_000 // scale)
    progress("start-up")
    return {
        "timeouts_per_request": cost,
        "rounds_over_timeouts": rounds / cost,
        "skip_over_step": stepping / skipping,
        "cost_growth": growth,
        "peak_memory_bytes": memory,
        "giant_queue": giant / cost,
        "batch16_over_timeouts": batched,
        "batch16_irregular": irregular,
        **tight,
        "paper_run_ms": paper / 2e6 * 1e3,
        "paper_run_in_timeouts": paper,
        "startup_s": startup_s(),
    }


def _in_another_process(trace: Trace, profile: Profile, requests: int) -> tuple[float, int]:
    """(growth of a request's cost from 10^4 requests, peak bytes) of a process that serves so
    many.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_serve_many, trace, profile, requests).result()


def _serve_many(trace: Trace, profile: Profile, requests: int) -> tuple[float, int]:
    few = timeouts_per_request(ready(trace, profile, 10_000))
    many = timeouts_per_request(ready(trace, profile, requests), repeats=1)
    return many / few, peak_memory_bytes()


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )


def startup_s(repeats: int = 3) -> float:
    """From starting `lapsd compare` to its first simulated event, the least of some starts."""
    script = (
        "import os, runpy, sys, simpy\n"
        "simpy.Environment.step = lambda self: os._exit(0)\n"
        "sys.argv = ['lapsd', 'compare']\n"
        "runpy.run_module('lapsd', run_name='__main__')\n"
        "os._exit(1)\n"
    )
    starts = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        starts.append(time.perf_counter() - started)
    return min(starts)
