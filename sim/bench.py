"""How fast the simulator is, as ratios to bare SimPy timeouts timed in the same process.

A machine's speed, and what else it is doing, cancel in a ratio, so bare timeouts are timed before and after each run.
Workloads are LAPS-SD's at load 0.8 with noisy lengths, unless a figure says otherwise.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import simpy

from policies import LapsSD, Outlook, Policy
from sim.engine import Capacity, Run, simulate
from sim.experiment.stage import Stage
from traces import Arrivals, LengthPredictor, PricedTrace, Profile, Trace, Workload, draw_workload

TIMEOUTS = 100_000
REPEATS = 5


class Figure(NamedTuple):
    """A figure's meaning, and what it must not exceed or fall below."""

    key: str
    meaning: str
    bound: float
    at_most: bool


FIGURES = (
    Figure("timeouts_per_request", "bare timeouts that a request costs, b = 1", 30, True),
    Figure("rounds_over_timeouts", "rounds a second over bare timeouts a second, b = 1", 3, False),
    Figure("skip_over_step", "time of stepping through every round over that of skipping, b = 1", 8, False),
    Figure("cost_growth", "cost of a request among 10^6 over that among 10^4", 1.3, True),
    Figure("peak_memory_bytes", "peak memory of a process that serves 10^6 requests", 1e9, True),
    Figure("giant_queue", "cost of a request when 10^5 come at once over that at load 0.8", 3, True),
    Figure("batch16_over_timeouts", "iterations a second at b = 16 over bare timeouts a second", 0.15, False),
    Figure("batch16_irregular", "the same where draft lengths differ from round to round", 0.12, False),
    Figure("paper_run_ms", "a run of 30 requests with its metrics, ms where bare timeouts run at 2 M/s", 0.5, True),
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
    """What a call takes in bare timeouts: the median of repeats, each against timeouts before and after it."""
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


@dataclass(frozen=True, eq=False)
class Bench:
    """What is timed: the half of a trace that workloads are drawn from, priced, and what is known of the other.

    Attributes
    ----------
    share_ns : float
        A request's mean share of a full batch.
    """

    priced: PricedTrace
    outlook: Outlook
    share_ns: float
    policy: Policy
    capacity: Capacity

    @classmethod
    def of(cls, trace: Trace, profile: Profile, policy: Policy | None = None, batch: int = 1) -> "Bench":
        """The default split; the paper's server, or batches of up to `batch` with memory for all."""
        future, outlook, share_ns = Stage.of(trace, profile, batch=batch).halves
        capacity = Capacity() if batch == 1 else Capacity(batch, None)
        return cls(future, outlook, share_ns, policy or LapsSD(), capacity)

    def workload(self, requests: int, seed: int = 0, all_at_once: bool = False) -> Workload:
        """Requests at load 0.8, or all at once."""
        arrivals = Arrivals(all_at_once=True) if all_at_once else Arrivals(load=0.8)
        return draw_workload(
            self.priced, requests=requests, seed=seed, arrivals=arrivals, mean_size_ns=self.share_ns,
            predictor=LengthPredictor.parse("noisy:0.5"),
        )  # fmt: skip

    def run(self, workload: Workload, skip: bool = True) -> Run:
        """Serve it."""
        return simulate(workload, self.policy, outlook=self.outlook, capacity=self.capacity, skip=skip)

    def timeouts_per_request(self, workload: Workload, repeats: int = REPEATS) -> float:
        """What a request costs."""
        self.run(workload)  # what is remembered of trace rows is remembered
        return in_timeouts(lambda: self.run(workload), repeats) / len(workload)


def with_irregular_drafts(trace: Trace) -> Trace:
    """A trace's acceptances with draft lengths as assisted generation chooses them, though never below what stood.

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


def metrics(run: Run, workload: Workload) -> tuple[float, ...]:
    """What a sweep keeps of a run: latency's mean, median, tail and worst slowdown, switching, preemptions, use."""
    latency = run.latency_ns
    slowdown = latency / workload.size_ns
    switching = int(run.switch_ns.sum())
    ordered = np.sort(latency)
    return (
        float(latency.mean()), float(ordered[len(ordered) // 2]), float(ordered[int(0.99 * (len(ordered) - 1))]),
        float(slowdown.mean()), float(slowdown.max()), switching / (switching + int(run.service_ns.sum())),
        float(run.preemptions.sum()), 1 - run.idle_ns / run.end_ns,
    )  # fmt: skip


def bench(
    trace: Trace, profile: Profile, *, quick: bool = False, progress: Callable[[str], None] = lambda _: None
) -> dict[str, float]:
    """Every figure of `FIGURES`, by key.

    Parameters
    ----------
    quick : a hundredth of the requests where a figure needs very many, for a first look: growth and memory are then
        of 10^4 requests and mean nothing.
    """
    scale = 100 if quick else 1
    single = Bench.of(trace, profile)
    progress("requests and rounds")
    usual = single.workload(10_000)
    rounds = int(single.priced.trace.rounds[usual.rows].sum())
    cost = single.timeouts_per_request(usual)
    progress("stepping")
    short = single.workload(2_000)
    skipping = single.timeouts_per_request(short)
    stepping = in_timeouts(lambda: single.run(short, skip=False), 1 if quick else 3) / len(short)
    progress("a giant queue")
    giant = single.timeouts_per_request(single.workload(100_000 // scale, all_at_once=True), 1)
    progress("batches of 16")
    batched = Bench.of(trace, profile, batch=16)
    full = batched.workload(5_000)
    iterations = batched.run(full).rounds
    batch_cost = batched.timeouts_per_request(full)
    progress("batches of 16, draft lengths that differ")
    irregular = Bench.of(with_irregular_drafts(trace), profile, batch=16)
    mixed = irregular.workload(2_000)
    mixed_iterations = irregular.run(mixed).rounds
    mixed_cost = irregular.timeouts_per_request(mixed)
    progress("the paper's runs")
    paper = [single.workload(30, seed) for seed in range(200)]
    for work in paper:
        single.run(work)
    paper_run = in_timeouts(lambda: [metrics(single.run(work), work) for work in paper]) / len(paper)
    progress("a million requests")
    growth, memory = _in_another_process(trace, profile, 1_000_000 // scale)
    progress("start-up")
    return {
        "timeouts_per_request": cost,
        "rounds_over_timeouts": rounds / len(usual) / cost,
        "skip_over_step": stepping / skipping,
        "cost_growth": growth,
        "peak_memory_bytes": memory,
        "giant_queue": giant / cost,
        "batch16_over_timeouts": iterations / len(full) / batch_cost,
        "batch16_irregular": mixed_iterations / len(mixed) / mixed_cost,
        "paper_run_ms": paper_run / 2e6 * 1e3,
        "paper_run_in_timeouts": paper_run,
        "startup_s": startup_s(),
    }


def _in_another_process(trace: Trace, profile: Profile, requests: int) -> tuple[float, int]:
    """(growth of a request's cost from 10^4 requests, peak bytes) of a process that serves so many."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_serve_many, trace, profile, requests).result()


def _serve_many(trace: Trace, profile: Profile, requests: int) -> tuple[float, int]:
    single = Bench.of(trace, profile)
    few = single.timeouts_per_request(single.workload(10_000))
    work = single.workload(requests)
    many = in_timeouts(lambda: single.run(work), 1) / len(work)
    return many / few, peak_memory_bytes()


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def startup_s(repeats: int = 3) -> float:
    """From starting `lapsd compare` to its first simulated event, the least of some starts."""
    script = (
        "import os, sys, simpy\n"
        "simpy.Environment.step = lambda self: os._exit(0)\n"
        "sys.argv = ['lapsd', 'compare']\n"
        "from sim.cli import main\n"
        "main()\n"
        "os._exit(1)\n"
    )
    starts = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        starts.append(time.perf_counter() - started)
    return min(starts)
