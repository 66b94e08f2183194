"""The benchmark measures what its figures say. The speed of this machine is not tested."""

import json
import math

import pytest

from lapsd.cli.tables.bench import bench_table
from lapsd.sim import bench
from lapsd.sim.bench import (
    FIGURES,
    MEMORIES,
    POLICY,
    in_timeouts,
    ready,
    run,
    with_irregular_drafts,
)
from lapsd.traces import load_profile, load_trace, trace_from_rounds
from tests.builders import row
from tests.compilation import too_slow_in_python


@pytest.fixture
def once(monkeypatch):
    """Every figure is measured once, against few bare timeouts."""
    ratio, bare, startup = bench.in_timeouts, bench.bare_timeouts_per_s, bench.startup_s
    monkeypatch.setattr(bench, "in_timeouts", lambda run, repeats=1: ratio(run, 1))
    monkeypatch.setattr(bench, "bare_timeouts_per_s", lambda: bare(5_000))
    monkeypatch.setattr(bench, "startup_s", lambda: startup(1))


@too_slow_in_python
@pytest.mark.usefixtures("once")
def test_the_benchmark_prints_every_figure_as_json(lapsd):
    code, printed, error = lapsd("bench", "--quick", "--json")
    assert code == 0, error
    found = json.loads(printed)
    assert list(found) == [
        "timeouts_per_request",
        "rounds_over_timeouts",
        "cost_growth",
        "peak_memory_bytes",
        "giant_queue",
        "batch16_over_timeouts",
        "batch16_irregular",
        *(f"memory_{name}" for name in MEMORIES),
        "draft_policy",
        "servers_cost",
        "servers_memory_bytes",
        "user_policy",
        "paper_run_ms",
        "paper_run_in_timeouts",
        "startup_s",
    ]
    assert [f.key for f in FIGURES] == list(found)
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    # figures that depend on each other
    assert math.isclose(found["paper_run_ms"], found["paper_run_in_timeouts"] / 2000)
    assert found["peak_memory_bytes"] > 50e6
    assert bench_table(found).row_count == len(found)


def test_irregular_draft_lengths_follow_the_rule_and_change_no_output():
    trace = trace_from_rounds([row("a", 3, [0, 4, 4, 1, 0, 0, 0, 3], n=4)])
    mixed = with_irregular_drafts(trace)
    # 5; 1 less: 4, all accepted; 2 more: 6; then 1 less each; the last round accepted 3, so not 2
    assert mixed.drafted.tolist() == [5, 4, 6, 5, 4, 3, 2, 3]
    assert mixed.accepted.tolist() == trace.accepted.tolist()
    drafted = with_irregular_drafts(load_trace("reference")).drafted
    assert len(set(drafted.tolist())) > 3


@too_slow_in_python
def test_more_work_takes_more_timeouts():
    prepared = ready(load_trace("reference"), load_profile("reference"), 300)
    once = in_timeouts(lambda: run(prepared, POLICY, 0), 5)
    assert in_timeouts(lambda: [run(prepared, POLICY, 0) for _ in range(16)], 5) > 1.5 * once > 0


def test_the_benchmark_times_the_same_run_function_as_sweeps(monkeypatch):
    """It passes on the scenario, and measures the paper's runs together as in sweeps."""
    calls = []
    real = bench.run
    monkeypatch.setattr(
        bench, "run", lambda *a, **how: calls.append((a[0].scenario, how)) or real(*a, **how)
    )
    prepared = ready(load_trace("reference"), load_profile("reference"), 20, batch=16)
    bench.timeouts_per_request(prepared, repeats=1)
    assert calls[-1] == (prepared.scenario, {})
    assert (
        prepared.scenario.batch,
        prepared.scenario.load,
        prepared.scenario.length_predictor,
    ) == (16, 0.8, "noisy:0.5")
    counted = []
    monkeypatch.setattr(bench, "record_metrics", lambda runs: counted.append(len(runs.runs)))
    assert bench.paper_run(prepared, 3) > 0
    assert set(counted) == {3 * bench.TOGETHER}
