"""The bench measures what it says. How fast this machine is, it is not asked."""

import json
import math
import subprocess
import sys

from sim.bench import FIGURES, Bench, in_timeouts, metrics, with_irregular_drafts
from tests.builders import row
from traces import load_profile, load_trace, trace_from_rounds


def test_the_bench_prints_every_figure_and_nothing_else():
    script = "from sim.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "bench", "--quick", "--json"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert list(found) == [
        "timeouts_per_request", "rounds_over_timeouts", "skip_over_step", "cost_growth", "peak_memory_bytes",
        "giant_queue", "batch16_over_timeouts", "batch16_irregular", "paper_run_ms", "paper_run_in_timeouts",
        "startup_s",
    ]  # fmt: skip
    assert [f.key for f in FIGURES] == list(found)
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    # figures that hang together
    assert math.isclose(found["paper_run_ms"], found["paper_run_in_timeouts"] / 2000)
    assert found["peak_memory_bytes"] > 50e6


def test_irregular_drafts_are_as_the_rule_says_and_change_no_output():
    trace = trace_from_rounds([row("a", 3, [0, 4, 4, 1, 0, 0, 0, 3], n=4)])
    mixed = with_irregular_drafts(trace)
    # 5, one less; 4, all of them: two more; 6, less, less, ...; 2 would be too few for the last
    assert mixed.drafted.tolist() == [5, 4, 6, 5, 4, 3, 2, 3]
    assert mixed.accepted.tolist() == trace.accepted.tolist()
    drafted = with_irregular_drafts(load_trace("reference")).drafted
    assert len(set(drafted.tolist())) > 3


def test_twice_the_work_takes_more_timeouts():
    single = Bench.of(load_trace("reference"), load_profile("reference"))
    work = single.workload(300)
    once = in_timeouts(lambda: single.run(work), 5)
    assert in_timeouts(lambda: [single.run(work) for _ in range(4)], 5) > 1.5 * once > 0


def test_a_runs_metrics_are_those_of_its_requests():
    single = Bench.of(load_trace("reference"), load_profile("reference"))
    work = single.workload(30)
    run = single.run(work)
    mean, median, p99, slowdown, worst, switching, preemptions, use = metrics(run, work)
    assert mean == run.latency_ns.mean()
    assert run.latency_ns.min() <= median <= p99 <= run.latency_ns.max()
    assert 1 <= slowdown <= worst
    assert 0 < switching < 0.01
    assert preemptions == run.preemptions.sum()
    assert 0 < use <= 1
