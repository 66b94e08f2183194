"""Comparisons: the table follows from the records, and the same seeds give the same numbers."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from lapsd import compare
from lapsd.policies import FCFS, LPSJF, SRPT, LapsSD, Policy, spec_of
from lapsd.sim.experiment.metrics import comparison_metrics
from lapsd.sim.experiment.results import COMPARISON, write_comparison
from lapsd.traces import Profile, trace_from_rounds
from lapsd.traces.files import replacing
from tests.builders import row


def a_trace(requests=60):
    rng = np.random.default_rng(5)
    rows = [
        row(
            f"r{i}", int(rng.integers(1, 40)), rng.integers(0, 5, size=rng.integers(1, 40)).tolist()
        )
        for i in range(requests)
    ]
    return trace_from_rounds(rows, {"source": "a test's trace"})


PROFILE = Profile.constant(draft_ms=1, verify_ms=6, prefill_ms_per_token=0.1, swap_ms=1)
TRACE = a_trace()


@pytest.fixture(scope="module")
def result():
    return compare(TRACE, PROFILE, requests=20, seeds=6, length_predictor="noisy:0.4")


def test_the_table_follows_from_the_records_of_every_request(result):
    for record in result.records:
        rows = result.requests[result.requests["policy"] == record["policy"]]
        latency = (rows["finish_ns"] - rows["arrival_ns"]) / 1e9
        assert len(rows) == 120
        assert record["mean_latency_s"] == pytest.approx(latency.mean())
        assert record["p90_latency_s"] == pytest.approx(latency.quantile(0.9))
        assert record["preemptions"] == rows["preemptions"].sum()
        slowdown = latency * 1e9 / rows["size_ns"]
        assert (record["mean_slowdown"], record["max_slowdown"]) == pytest.approx(
            (slowdown.mean(), slowdown.max())
        )
        share = rows["switch_ns"].sum() / (rows["switch_ns"].sum() + rows["service_ns"].sum())
        assert record["switching_share"] == pytest.approx(share)
        assert record["ratio_to_bound"] >= 1
        assert {metric.name for metric in comparison_metrics(result.scenario)} < set(record)


def test_every_policy_sees_the_same_requests(result):
    columns = ["seed", "index", "request_id", "arrival_ns", "service_ns", "predicted_tokens"]
    seen = [
        rows[columns].reset_index(drop=True)
        for _, rows in result.requests.groupby("policy", sort=False)
    ]
    assert len(seen) == 7
    for other in seen[1:]:
        pd.testing.assert_frame_equal(seen[0], other)


def test_the_numbers_of_a_policy_do_not_depend_on_the_other_policies(result):
    alone = compare(TRACE, PROFILE, [LapsSD()], requests=20, seeds=6, length_predictor="noisy:0.4")
    assert alone.records == [r for r in result.records if r["policy"] == "laps-sd"]


def test_fcfs_differs_from_itself_by_nothing_and_from_others_by_their_means(result):
    by_policy = {r["policy"]: r for r in result.records}
    assert [by_policy["fcfs"][k] for k in ("diff_to_fcfs_s", "diff_low_s", "diff_high_s")] == [
        0,
        0,
        0,
    ]
    srpt = by_policy["srpt"]
    assert srpt["diff_to_fcfs_s"] == pytest.approx(
        srpt["mean_latency_s"] - by_policy["fcfs"]["mean_latency_s"]
    )
    assert srpt["diff_low_s"] < srpt["diff_to_fcfs_s"] < srpt["diff_high_s"]


def test_versus_is_the_ratio_of_means(result):
    table = result.versus("laps-sd").set_index("policy")
    means = {r["policy"]: r["mean_latency_s"] for r in result.records}
    assert table.loc["fcfs", "percent"] == pytest.approx(
        100 * (means["laps-sd"] / means["fcfs"] - 1)
    )
    assert "laps-sd" not in table.index


def test_requests_come_from_the_test_half_only(result):
    train, test = TRACE.split(0)
    assert set(result.requests["request_id"]) <= set(test.request_id)
    assert not set(result.requests["request_id"]) & set(train.request_id)


def test_slowdown_by_length_has_one_column_per_quarter(result):
    assert result.slowdown_by_length.shape == (7, 4)
    assert (result.slowdown_by_length.to_numpy() >= 1).all()


@dataclasses.dataclass(frozen=True)
class FirstCopy(FCFS):
    name = "first-copy"


@dataclasses.dataclass(frozen=True)
class SecondCopy(FCFS):
    name = "second-copy"


@pytest.mark.parametrize(("requests", "seeds"), [(1, 1), (2, 3), (7, 1), (30, 2)])
def test_copies_of_a_policy_under_other_names_get_the_same_statistics(requests, seeds):
    """Quarters once ranked the rows of all policies together: each policy's held other requests."""
    copies = [FCFS(), FirstCopy(), SecondCopy()]
    compared = compare(TRACE, PROFILE, copies, requests=requests, seeds=seeds, load=0.9)
    table = compared.table.set_index("policy")
    if seeds == 1:  # the baseline differs from itself by 0; a copy's difference has no interval
        table = table.drop(columns=["diff_low_s", "diff_high_s"])
    for rows in (table, compared.slowdown_by_length):
        assert len(rows) == 3
        for copy in copies[1:]:
            pd.testing.assert_series_equal(
                rows.loc[spec_of(copy)], rows.loc["fcfs"], check_names=False
            )
    versus = compared.versus("fcfs").set_index("policy")
    assert (versus["percent"] == 0).all()
    runs = compared.runs.set_index(["policy", "seed"])
    assert runs.loc["second-copy"].equals(runs.loc["fcfs"])


def test_quarters_of_output_length_hold_the_requests_of_the_workload():
    compared = compare(TRACE, PROFILE, [FCFS()], requests=20, seeds=1)
    rows = compared.requests.sort_values("output_tokens", kind="stable")
    slowdown = (rows["finish_ns"] - rows["arrival_ns"]) / rows["size_ns"]
    means = [slowdown.iloc[5 * i : 5 * i + 5].mean() for i in range(4)]
    assert compared.slowdown_by_length.loc["fcfs"].tolist() == pytest.approx(means)


def test_one_seed_leaves_intervals_undefined_and_valid_json():
    record = compare(TRACE, PROFILE, [LPSJF()], requests=5, seeds=1, all_at_once=True).records[0]
    assert record["diff_low_s"] is None
    assert record["load"] is None
    assert record["realised_load"] is None
    json.dumps(record, allow_nan=False)


def test_a_users_policy_needs_no_registration():
    class LongestFirst(Policy):
        def rank(self, job, now_ns):
            return (not job.started, -job.predicted_tokens)

    class Oracle(LongestFirst):
        clairvoyant = True

    result = compare(TRACE, PROFILE, [LongestFirst(), Oracle(), SRPT()], requests=20, seeds=3)
    assert result.clairvoyant == {"Oracle", "srpt"}
    result = compare(TRACE, PROFILE, [LongestFirst(), SRPT()], requests=20, seeds=3)
    assert result.policies == ["LongestFirst", "srpt"]
    assert result.table["mean_latency_s"].is_monotonic_decreasing


def test_batches_carry_more_load_and_claim_no_bound():
    terms = PROFILE.costs.rounds[1]
    faster = dataclasses.replace(
        PROFILE.costs, rounds={1: terms, 4: dataclasses.replace(terms, host_ns=4_000_000)}
    )
    profile = dataclasses.replace(PROFILE, costs=faster)
    alone = compare(TRACE, profile, [FCFS()], requests=20, seeds=3, rate_per_s=20.0)
    together = compare(TRACE, profile, [FCFS()], requests=20, seeds=3, rate_per_s=20.0, batch=4)
    assert together.records[0]["mean_latency_s"] < 0.7 * alone.records[0]["mean_latency_s"]
    assert together.records[0]["ratio_to_bound"] is None
    assert together.configuration["mean_size_s"] < alone.configuration["mean_size_s"]
    together.plot()
    with pytest.raises(ValueError, match="batch size 8: the profile covers 1 to 4"):
        compare(TRACE, profile, batch=8)


def test_two_policies_of_the_same_spec_are_refused():
    with pytest.raises(ValueError, match="policy fcfs is given twice"):
        compare(TRACE, PROFILE, [FCFS(), FCFS()])
    with pytest.raises(ValueError, match="at least one"):
        compare(TRACE, PROFILE, [])


def test_a_result_folder_reads_as_records_and_is_not_overwritten(tmp_path, result):
    folder = tmp_path / "result"
    with replacing(folder, COMPARISON, overwrite=False) as new:
        write_comparison(result, new)
    frame = pd.read_parquet(folder)
    assert len(frame) == 7 * 6 * 20
    wanted = (
        "seed policy index request_id arrival_ns first_service_ns first_token_ns finish_ns"
        " service_ns switch_ns preemptions cached_tokens predicted_tokens"
    )
    assert list(frame.columns) == wanted.split()
    config = json.loads((folder / "_config.json").read_text())
    assert config["policies"]["laps-sd"]["K"] == 4
    assert len(config["policies"]["laps-sd"]["thresholds_s"]) == 3
    with (
        pytest.raises(ValueError, match="holds a result already"),
        replacing(folder, COMPARISON, overwrite=False),
    ):
        pass
    (tmp_path / "mine.txt").touch()
    with (
        pytest.raises(ValueError, match="is not empty"),
        replacing(tmp_path, COMPARISON, overwrite=True),
    ):
        pass


def test_sup_1_follows_from_the_median_estimate_of_the_history(result):
    from lapsd import policy_context
    from lapsd.traces import price

    train, _ = TRACE.split(0)
    sizes = policy_context(price(train, PROFILE)).past_sizes_ns
    first = result.configuration["policies"]["laps-sd"]["thresholds_s"][0]
    assert first == pytest.approx(np.median(sizes) / 4 / 1e9, rel=1e-6)
    assert not math.isnan(first)
