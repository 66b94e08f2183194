"""Metrics: one list; what it is of a run and over seeds, and that a ratio is never a mean of
ratios.
"""

import numpy as np
import pandas as pd
import pytest

from lapsd import Scenario, compare, mean_interval, ratio_of_means, sweep
from lapsd.cli.tables.comparison import comparison_table
from lapsd.cli.tables.sweep import sweep_table
from lapsd.policies import FCFS, LPSRPT, LapsSD
from lapsd.sim.experiment import metrics
from lapsd.sim.experiment.bound import bound_latency_ns
from lapsd.sim.experiment.metrics import (
    MAXIMUM,
    METRICS,
    Metric,
    Percentile,
    Ratio,
    by_group,
    metric_named,
    over_seeds,
)
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import Runs, run_many
from lapsd.sim.experiment.statistics import ratio_by_seed
from lapsd.sim.sweeps import best
from lapsd.traces import price
from tests.sim.experiment.test_comparison import PROFILE, TRACE


def synthetic():
    """Two policies, four seeds whose bounds differ a lot: a mean of ratios is far from the ratio of
    means.
    """
    bound = [1.0, 1.0, 1.0, 9.0]
    slow, fast = [3.0, 3.0, 3.0, 9.0], [1.5, 1.5, 1.5, 13.5]
    rows = [("slow", s, m, b) for s, (m, b) in enumerate(zip(slow, bound, strict=True))]
    rows += [("fast", s, m, b) for s, (m, b) in enumerate(zip(fast, bound, strict=True))]
    made = pd.DataFrame(rows, columns=["policy", "seed", "mean_latency_s", "bound_s"])
    made.insert(1, "policy_name", made["policy"])
    made.insert(2, "trace", "t")
    return made.assign(requests=30, max_slowdown=made["mean_latency_s"])


def test_a_ratio_is_a_ratio_of_means_in_tables_and_in_sweeps():
    records = synthetic()
    slow = records[records["policy"] == "slow"]
    assert over_seeds(slow, "ratio_to_bound") == ratio_of_means(
        slow["mean_latency_s"], slow["bound_s"]
    )
    assert over_seeds(slow, "ratio_to_bound").value == 1.5  # the mean of ratios is 2.5
    shown = by_group(records, ["policy"], metric_named("ratio_to_bound")).set_index("policy")[
        "value"
    ]
    assert shown.to_dict() == {"slow": 1.5, "fast": 1.5}
    assert "1.5" in [
        cell
        for column in sweep_table(records, "ratio_to_bound", []).columns
        for cell in column.cells
    ]
    (verdict,) = best(records, metric="ratio_to_bound")
    assert verdict.selected_value == pytest.approx(1.5)  # of both on seeds 0 and 2, 3 and 1.5
    assert verdict.best == "fast"


def test_contributions_of_seeds_to_a_ratio_have_its_mean_and_interval():
    rng = np.random.default_rng(2)
    y = rng.gamma(2, size=(3, 40))
    x = 1.7 * y + rng.gamma(1, size=(3, 40))
    for values, ours, base in zip(ratio_by_seed(x, y), x, y, strict=True):
        assert mean_interval(values) == pytest.approx(ratio_of_means(ours, base))


def test_ttft_ends_with_the_first_round_and_tpot_counts_the_rest():
    """One request alone: prefill and a round, then the others, over the tokens that those emit."""
    result = compare(TRACE, PROFILE, [FCFS()], requests=1, seeds=1)
    (row,), run = result.requests.to_dict("records"), result.runs.iloc[0]
    spans = TRACE.rounds_of(TRACE.request_id.index(row["request_id"]))
    round_ns = price(TRACE, PROFILE).round_ns[spans]
    left = row["output_tokens"] - TRACE.accepted[spans][0] - 1
    assert row["finish_ns"] - row["first_token_ns"] == round_ns[1:].sum() > 0
    assert run["mean_ttft_s"] == (row["first_token_ns"] - row["arrival_ns"]) / 1e9
    assert run["p99_tpot_s"] == pytest.approx(round_ns[1:].sum() / left / 1e9)
    assert run["p95_slo_scale"] == pytest.approx(
        max(run["mean_ttft_s"] / 1.55, run["mean_tpot_s"] / 0.15)
    )


def test_records_hold_the_parts_of_ratios_and_not_the_ratios(tmp_path):
    records = sweep(tmp_path / "s", ["fcfs", "laps-sd"], requests=[4, 8], seeds=3, workers=1)
    ratios = {
        metric.name: metric.over_seeds for metric in METRICS if isinstance(metric.over_seeds, Ratio)
    }
    assert ratios
    for name, rule in ratios.items():
        assert name not in records
        assert {rule.numerator, rule.denominator} <= set(records.columns)
    for show in (lambda r, n: over_seeds(r, n), lambda r, n: sweep_table(r, n, ["requests"])):
        with pytest.raises(
            ValueError, match="metric 'switching_share': the records have no column 'busy_s'"
        ):
            show(records.drop(columns="busy_s"), "switching_share")
    with pytest.raises(ValueError, match="metric 'latency': known are mean_latency_s"):
        over_seeds(records, "latency")


def test_a_comparison_and_a_sweep_agree_on_every_metric(tmp_path):
    """Of the same runs, but for percentiles, which only a comparison can pool, and counts, which it
    adds up.
    """
    asked = {"requests": 12, "load": 0.9, "seeds": 5}
    table = compare("reference", "reference", [FCFS(), LapsSD()], **asked).table.set_index("policy")
    records = sweep(tmp_path / "s", ["fcfs", "laps-sd"], **asked, workers=1)
    for policy, rows in records.groupby("policy"):
        for metric in metrics.comparison_metrics(Scenario()):
            found = over_seeds(rows, metric.name).value * (5 if metric.name == "preemptions" else 1)
            if not isinstance(metric.over_seeds, Percentile):
                assert table.loc[policy, metric.name] == pytest.approx(found), metric.name


def test_percentiles_pool_the_requests_of_all_seeds():
    result = compare(TRACE, PROFILE, [FCFS()], requests=15, seeds=4)
    latency = (result.requests["finish_ns"] - result.requests["arrival_ns"]) / 1e9
    for percent in (50, 90, 99):
        assert result.records[0][f"p{percent}_latency_s"] == pytest.approx(
            np.percentile(latency, percent)
        )


def test_a_maximum_is_the_largest_of_all_seeds():
    assert over_seeds(synthetic(), "max_slowdown").value == 13.5
    assert by_group(synthetic(), ["policy"], metric_named("max_slowdown"))["value"].tolist() == [
        9.0,
        13.5,
    ]
    assert metric_named("max_slowdown").over_seeds == MAXIMUM


@pytest.mark.parametrize(
    ("percent", "few", "enough"), [(99, 999, 1_000), (90, 99, 100), (50, 19, 20)]
)
def test_a_percentile_with_fewer_than_ten_observations_above_it_is_marked(percent, few, enough):
    metric = metric_named(f"p{percent}_latency_s")
    assert metric.is_unreliable(few)
    assert not metric.is_unreliable(enough)
    assert not metric_named("mean_latency_s").is_unreliable(1)


def test_the_marks_are_in_the_tables(tmp_path):
    shown = comparison_table(compare(TRACE, PROFILE, [FCFS()], requests=10, seeds=10))
    headings = [str(column.header) for column in shown.columns]
    assert "p90 s" in headings
    assert "p99 s*" in headings
    records = sweep(tmp_path / "s", ["fcfs"], requests=[4, 8], seeds=3, workers=1)
    table = sweep_table(records, "p99_latency_s", ["requests"])
    assert table.columns[1].header == "p99_latency_s*"
    assert "fewer than 10" in str(table.title)
    assert (
        sweep_table(records, "mean_latency_s", ["requests"]).columns[1].header == "mean_latency_s"
    )


def test_a_new_metric_is_one_entry(monkeypatch, tmp_path):
    late = Metric(
        "late_share", "share", "mean", lambda r: (r.slowdown > 2).mean(axis=1), heading="late\n%"
    )
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, late))
    result = compare(TRACE, PROFILE, [FCFS(), LPSRPT()], requests=12, seeds=3)
    rows = result.requests
    slowdown = (rows["finish_ns"] - rows["arrival_ns"]) / rows["size_ns"]
    wanted = (slowdown > 2).groupby(rows["policy"]).mean()
    assert {r["policy"]: r["late_share"] for r in result.records} == pytest.approx(wanted.to_dict())
    assert "late\n%" in [column.header for column in comparison_table(result).columns]
    records = sweep(tmp_path / "s", ["fcfs"], requests=12, seeds=3, workers=1)
    assert over_seeds(records, "late_share").value == records["late_share"].mean()


def test_the_warm_up_is_left_out_of_statistics_only():
    whole = compare(TRACE, PROFILE, [FCFS(), LapsSD()], requests=20, seeds=4)
    warm = compare(TRACE, PROFILE, [FCFS(), LapsSD()], requests=20, seeds=4, warmup=6)
    pd.testing.assert_frame_equal(warm.requests, whole.requests)
    for record in warm.records:
        rows = warm.requests[
            (warm.requests["policy"] == record["policy"]) & (warm.requests["index"] >= 6)
        ]
        latency = (rows["finish_ns"] - rows["arrival_ns"]) / 1e9
        assert record["mean_latency_s"] == pytest.approx(latency.mean())
        assert record["p90_latency_s"] == pytest.approx(latency.quantile(0.9))
        assert record["preemptions"] == rows["preemptions"].sum()
        assert record["max_slowdown"] == pytest.approx((latency * 1e9 / rows["size_ns"]).max())
        assert record["ratio_to_bound"] is None  # it bounds the mean of all, not of some
    assert warm.observations == 4 * 14
    assert warm.records[0]["mean_latency_s"] != whole.records[0]["mean_latency_s"]
    assert (warm.slowdown_by_length.to_numpy() >= 1).all()
    assert not warm.slowdown_by_length.equals(whole.slowdown_by_length)
    assert "the first 6 left out" in warm.caption


SETTINGS = (
    {"warmup": 3},
    {"load": None, "clients": 3, "think": 0.2},
    {"batch": 4, "warmup": 2, "length_predictor": "noisy:0.5"},
    {"batch": 4, "memory": "paged", "kv_tokens": 4000},
)


@pytest.mark.parametrize("scenario", SETTINGS, ids=repr)
def test_metrics_of_many_runs_equal_those_of_each_run_bit_for_bit(scenario):
    prepared = PreparedScenario.of(requests=12, **scenario)
    workloads = [prepared.workload(seed) for seed in range(3)]
    policies = [FCFS(), LPSRPT(), LapsSD(K=2)]
    runs = list(run_many(prepared, policies, workloads))
    together = metrics.record_metrics(Runs(prepared, workloads, runs))
    alone = [
        metrics.record_metrics(Runs(prepared, [workloads[k // len(policies)]], [run]))
        for k, run in enumerate(runs)
    ]
    assert len({run.latency_ns.tobytes() for run in runs}) > len(workloads)  # policies do differ
    for name, values in together.items():
        expected = np.concatenate([of_run[name] for of_run in alone])
        assert values.tobytes() == expected.tobytes(), name


def test_metrics_of_a_run_follow_from_its_arrays():
    prepared = PreparedScenario.of(requests=12)
    (workload,), policy = [prepared.workload(1)], LapsSD()
    (run,) = run_many(prepared, [policy], [workload])
    found = metrics.record_metrics(Runs(prepared, [workload], [run]))
    latency = run.finish_ns - run.arrival_ns
    size, output = workload.size_ns, prepared.split.test.trace.output_tokens[workload.rows]
    expected = {
        "mean_latency_s": latency.mean() / 1e9,
        "p90_latency_s": np.percentile(latency, 90) / 1e9,
        "mean_slowdown": (latency / size).mean(),
        "mean_normalized_latency_s": (latency / output).mean() / 1e9,
        "mean_ttft_s": (run.first_token_ns - run.arrival_ns).mean() / 1e9,
        "preemptions": run.preemptions.sum(),
        "busy_s": (run.switch_ns + run.service_ns).sum() / 1e9,
        "rounds": run.rounds,
        "bound_s": bound_latency_ns(workload).mean() / 1e9,
    }
    assert {name: found[name].tolist() for name in expected} == {
        name: [value] for name, value in expected.items()
    }
