"""Measure the speed of the simulator, as ratios to bare SimPy timeouts in the same process.

The speed of the machine and its other load cancel in a ratio, because bare timeouts are timed
before and after each run. Unless a figure says otherwise, LAPS-SD serves requests at load 0.8 with
noisy predicted lengths.
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

from lapsd.policies import FCFS, LPSRPT, Alise, FastServe, Job, LapsSD, Policy, Rank
from lapsd.policies.drafts import Goodput
from lapsd.sim.experiment.metrics import record_metrics
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import Runs, run, run_many
from lapsd.traces import Profile, Trace, load_profile, load_trace

TIMEOUTS = 100_000
REPEATS, TOGETHER = 5, 5
POLICY = LapsSD()
SERVERS = 64


class Figure(NamedTuple):
    """One figure of the benchmark: its meaning and its upper or lower bound."""

    key: str
    meaning: str
    bound: float
    at_most: bool


class TightMemory(NamedTuple):
    """A server with little memory: its description, its settings, its policy, and a bound."""

    meaning: str
    settings: Mapping[str, Any]
    policy: Policy
    bound: float


CHUNKED = {"memory": "paged", "evict": "recompute", "prefill": "chunked"}
# Requests without speculation, 64 together, in memory for 64 requests of mean length, at load 1.2
MEMORIES: Mapping[str, TightMemory] = {
    "tokens": TightMemory("tokens", {"memory": "tokens"}, FCFS(), 0.3),
    "paged": TightMemory("blocks", {"memory": "paged"}, FCFS(), 0.3),
    "chunked": TightMemory("blocks, prompts in chunks", CHUNKED, FCFS(), 0.2),
    "fastserve": TightMemory("FastServe's", {"memory": "fastserve"}, FCFS(), 0.15),
    "alise": TightMemory("ALISE's", {"memory": "alise"}, FCFS(), 0.15),
    "paged_lp_srpt": TightMemory("blocks, many preemptions", {"memory": "paged"}, LPSRPT(), 0.06),
    "fastserve_fastserve": TightMemory(
        "FastServe's, and its policy", {"memory": "fastserve"}, FastServe(), 0.06
    ),
    "alise_alise": TightMemory("ALISE's, and its policy", {"memory": "alise"}, Alise(), 0.06),
}

# The bundled trace has 38 rounds per request on average; longer requests give more rounds per
# second.
FIGURES = (
    Figure("timeouts_per_request", "cost of a request in bare timeouts, b = 1", 5, True),
    Figure(
        "rounds_over_timeouts", "rounds per second over bare timeouts per second, b = 1", 8, False
    ),
    Figure("cost_growth", "cost per request with 10^6 requests over cost with 10^4", 1.3, True),
    Figure(
        "peak_memory_bytes", "peak memory of a process that serves 10^6 requests, bytes", 1e9, True
    ),
    Figure(
        "giant_queue", "cost per request when 10^5 arrive at once over cost at load 0.8", 3, True
    ),
    Figure(
        "batch16_over_timeouts",
        "iterations per second at b = 16 over bare timeouts per second",
        1,
        False,
    ),
    Figure("batch16_irregular", "the same with a different draft length in each round", 0.8, False),
    *(
        Figure(
            f"memory_{name}",
            f"the same, 64 requests without speculation in tight memory: {memory.meaning}",
            memory.bound,
            False,
        )
        for name, memory in MEMORIES.items()
    ),
    Figure(
        "draft_policy",
        "iterations per second at b = 64 under a draft policy over those with recorded lengths",
        0.5,
        False,
    ),
    Figure(
        "servers_cost",
        "cost per request with 64 servers of 64 slots and 10^5 requests over that of one server",
        3,
        True,
    ),
    Figure(
        "servers_memory_bytes",
        "peak memory of a process in which 64 servers serve 10^6 requests, bytes",
        2e9,
        True,
    ),
    Figure("user_policy", "speed of a user's policy over that of the same bundled one", 0.5, False),
    Figure(
        "paper_run_ms",
        "a run of 30 requests with its metrics, ms at 2 million bare timeouts per second",
        0.15,
        True,
    ),
    Figure("paper_run_in_timeouts", "the same in bare timeouts", 300, True),
    Figure("startup_s", "`lapsd compare` to the result of its first run, s", 1.5, True),
)


class ShortestRemaining(Policy):
    """The policy of a user: the shortest predicted remaining output first."""

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (max(0, job.predicted_tokens - job.tokens),)


def bare_timeouts_per_s(count: int = TIMEOUTS) -> float:
    """Return the timeouts per second of a SimPy process that does nothing else."""
    env = simpy.Environment()

    def process() -> Any:
        timeout = env.timeout
        for _ in range(count):
            yield timeout(1)

    started = time.perf_counter()
    env.run(env.process(process()))
    return count / (time.perf_counter() - started)


def in_timeouts(run: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Return the time of a call in bare timeouts: the median of repeats.

    Bare timeouts are timed before and after each repeat.
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
    """Return a scenario with noisy predicted lengths, with its workload of seed 0 drawn."""
    prepared = PreparedScenario.of(
        trace, profile, requests=requests, length_predictor="noisy:0.5", **scenario
    )
    prepared.workload(0)
    return prepared


def timeouts_per_request(
    prepared: PreparedScenario, policy: Policy = POLICY, repeats: int = REPEATS
) -> float:
    """Return the cost of a request in bare timeouts."""
    run(prepared, policy, 0)  # compiles the policy, and fills the caches of the trace
    return in_timeouts(lambda: run(prepared, policy, 0), repeats) / prepared.scenario.requests


def iterations_over_timeouts(prepared: PreparedScenario, policy: Policy = POLICY) -> float:
    """Return iterations per second over bare timeouts per second."""
    iterations = run(prepared, policy, 0).rounds
    return iterations / prepared.scenario.requests / timeouts_per_request(prepared, policy)


def in_tight_memory(**memory: Any) -> PreparedScenario:
    """Return an overloaded scenario without speculation, with 64 requests together in memory for 64
    requests of mean length.
    """
    trace, profile = load_trace("azure-conversations"), load_profile("opt-13b-a100")
    tokens = int((trace.prompt_tokens + trace.output_tokens).mean() * 64)
    scenario = {"batch": 64, "load": 1.2, "kv_tokens": tokens, "prefill": "batched", **memory}
    return ready(trace, profile, 1_000, **scenario)


def on_servers(servers: int, requests: int) -> PreparedScenario:
    """Return a scenario on servers of 64 slots, with the KV memory of an H200 each."""
    trace, profile = load_trace("reference"), load_profile("llama-7b-h200")
    return ready(trace, profile, requests, servers=servers, batch=64)


def paper_run(prepared: PreparedScenario, seeds: int) -> float:
    """Return the time of a run with its metrics, in bare timeouts.

    As in sweeps, one call of the loop serves the workloads of all seeds under `TOGETHER` policies.
    Drawing workloads is not counted.
    """
    workloads = [prepared.workload(seed) for seed in range(seeds)]

    def runs() -> None:
        done = list(run_many(prepared, [POLICY] * TOGETHER, workloads))
        record_metrics(Runs(prepared, workloads, done))

    runs()
    return in_timeouts(runs) / (seeds * TOGETHER)


def with_irregular_drafts(trace: Trace) -> Trace:
    """Return the trace with draft lengths chosen as in assisted generation, and equal acceptances.

    The draft length starts at 5. After a round in which all drafts were accepted it is 2 larger,
    else 1 smaller, but never below the number of tokens that the round accepted.
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
    """Measure every figure of `FIGURES`; return the values by key.

    Parameters
    ----------
    quick : use a hundredth of the requests in the largest runs, for a first look. Cost growth and
        peak memory then refer to 10^4 requests and have no meaning.
    progress : called with the name of each part before it starts.
    """
    scale = 100 if quick else 1
    progress("requests and rounds")
    typical = ready(trace, profile, 10_000)
    rounds = (
        int(typical.split.test.trace.rounds[typical.workload(0).rows].sum())
        / typical.scenario.requests
    )
    cost = timeouts_per_request(typical)
    progress("a giant queue")
    giant = timeouts_per_request(
        ready(trace, profile, 100_000 // scale, all_at_once=True), repeats=1
    )
    progress("batches of 16")
    batched = iterations_over_timeouts(ready(trace, profile, 5_000, batch=16))
    progress("batches of 16, different draft lengths")
    irregular = iterations_over_timeouts(
        ready(with_irregular_drafts(trace), profile, 5_000, batch=16)
    )
    tight = {}
    for name, server in MEMORIES.items():
        progress(f"tight memory: {server.meaning}")
        prepared = in_tight_memory(**server.settings)
        tight[f"memory_{name}"] = iterations_over_timeouts(prepared, server.policy)
    progress("a draft policy")
    full = ready(trace, load_profile("llama-7b-h200"), 3_000, batch=64, load=0.95)
    drafting, recorded = (
        iterations_over_timeouts(full, FCFS(drafts=drafts)) for drafts in (Goodput(), None)
    )
    progress("64 servers")
    one = timeouts_per_request(on_servers(1, 10_000), FCFS())
    many = timeouts_per_request(on_servers(SERVERS, 100_000 // scale), FCFS(), repeats=1)
    servers_memory = _in_another_process(_memory_of_servers, 1_000_000 // scale)
    progress("a user's policy")
    bundled, own = (timeouts_per_request(typical, p) for p in (LPSRPT(), ShortestRemaining()))
    progress("the paper's runs")
    paper = paper_run(ready(trace, profile, 30), 20 if quick else 60)
    progress("a million requests")
    growth, memory = _in_another_process(_serve_many, trace, profile, 1_000_000 // scale)
    progress("start-up")
    return {
        "timeouts_per_request": cost,
        "rounds_over_timeouts": rounds / cost,
        "cost_growth": growth,
        "peak_memory_bytes": memory,
        "giant_queue": giant / cost,
        "batch16_over_timeouts": batched,
        "batch16_irregular": irregular,
        **tight,
        "draft_policy": drafting / recorded,
        "servers_cost": many / one,
        "servers_memory_bytes": servers_memory,
        "user_policy": bundled / own,
        "paper_run_ms": paper / 2e6 * 1e3,
        "paper_run_in_timeouts": paper,
        "startup_s": startup_s(),
    }


def _in_another_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function that runs in a new process."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _serve_many(trace: Trace, profile: Profile, requests: int) -> tuple[float, int]:
    """Serve requests; return the cost of one over the cost with 10^4 requests, and the peak memory
    in bytes.
    """
    few = timeouts_per_request(ready(trace, profile, 10_000))
    many = timeouts_per_request(ready(trace, profile, requests), repeats=1)
    return many / few, peak_memory_bytes()


def _memory_of_servers(requests: int) -> int:
    """Serve requests on 64 servers; return the peak memory in bytes."""
    run(on_servers(SERVERS, requests), FCFS(), 0)
    return peak_memory_bytes()


def peak_memory_bytes() -> int:
    """Return the peak memory of this process."""
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
    """Return the shortest time from starting `lapsd compare` to the result of its first run."""
    script = (
        "import os, runpy, sys\n"
        "from lapsd.sim.engine.run_record import Run\n"
        "Run.__init__ = lambda self, *columns, **more: os._exit(0)\n"
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
