"""Tests of findings on records in which policies differ by known factors in every seed."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from lapsd.papers.laps_sd import switch_times
from lapsd.papers.laps_sd.claims import estimates, latency, switching
from lapsd.papers.laps_sd.questions import (
    acceptance,
    host_time,
    interpretations,
    preemption,
    server,
    stability,
    tails,
)
from lapsd.papers.report import PART
from lapsd.policies import LapsSD
from lapsd.sim.experiment.stability import stable_rounds
from lapsd.traces import price, save_trace
from tests.papers import synthetic

EVIDENCE = synthetic.evidence()
FACTORS = {"fcfs": 2.0, "las": 1.6, "lp-sjf": 1.25, "lp-srpt": 0.8, "laps-sd": 1.0, "srpt": 0.5}
SEEDS = 10


def records(factors=FACTORS, **settings):
    """Return one record per seed, policy and combination of settings.

    Latency is the seed plus 1 times the policy's factor. KV transfers take all of the busy time in
    even seeds and a tenth in odd seeds, so that the ratio of means is 10 / 55.
    """
    rows = []
    for values in product(*settings.values()):
        for seed, (policy, factor) in product(range(SEEDS), factors.items()):
            mean_s = (1 + seed) * factor
            rows.append(
                {
                    "policy": policy,
                    **dict(zip(settings, values, strict=True)),
                    "seed": seed,
                    "mean_latency_s": mean_s,
                    "p99_latency_s": 3 * mean_s,
                    "mean_slowdown": 2 * factor,
                    "max_slowdown": 9 * factor,
                    "preemptions": 4,
                    "switching_s": 1.0,
                    "busy_s": 10.0 if seed % 2 else 1.0,
                    "bound_s": 0.5 * (1 + seed),
                }
            )
    return pd.DataFrame(rows)


def with_records(**sweeps):
    return replace(EVIDENCE, records=sweeps)


OF_LATENCY = records(
    dataset=[*synthetic.DATASETS, None], all_at_once=[False, True], requests=[10, 30]
)


def test_latency_is_found_by_data_set_and_arrivals():
    rows = latency.find(with_records(latency=OF_LATENCY))["latency"]
    assert len(rows) == 4 * 2 * 2 * 6
    by_policy = rows[
        (rows["dataset"] == "all") & rows["all_at_once"] & (rows["requests"] == 10)
    ].set_index("policy")
    assert by_policy["mean_s"].to_dict() == pytest.approx({p: 5.5 * f for p, f in FACTORS.items()})
    assert by_policy["percent"].to_dict() == pytest.approx(
        {p: 100 / f - 100 for p, f in FACTORS.items()}
    )
    assert by_policy["percent_low"].to_numpy() == pytest.approx(
        by_policy["percent_high"].to_numpy()
    )
    assert set(by_policy["bound_s"]) == {2.75}


def test_tail_latency_uses_all_data_sets_and_the_number_of_requests_of_the_claims():
    marked = OF_LATENCY.assign(
        p99_latency_s=np.where(
            OF_LATENCY["dataset"].isna()
            & ~OF_LATENCY["all_at_once"]
            & (OF_LATENCY["requests"] == 30),
            7.0,
            -1.0,
        )
    )
    rows = tails.find(with_records(latency=marked))["tails"]
    assert sorted(rows["policy"]) == sorted(FACTORS)
    assert set(rows["p99_latency_s"]) == {7.0}
    assert set(rows["preemptions"]) == {4}


def test_the_share_of_busy_time_spent_on_switching_is_a_ratio_of_means():
    paid = switching.find(with_records(latency=OF_LATENCY))["switching_paid"]
    assert paid["switching_share"].tolist() == [pytest.approx(SEEDS / 55)]


def test_one_switch_is_divided_by_the_inference_time_of_its_request():
    rows = switching.find(with_records(latency=OF_LATENCY))["switching"].set_index(
        ["tokens", "way"]
    )["share"]
    costs, tokens = (
        EVIDENCE.inputs.profile.costs,
        int(np.median(EVIDENCE.inputs.trace.prompt_tokens)) + 500,
    )
    whole = int(switch_times.inference_ns(EVIDENCE.inputs, [500])[0])
    assert rows[500, "swap"] == (costs.swap_out(tokens) + costs.swap_in(tokens)) / whole
    assert rows[500, "recompute"] == costs.prefill(tokens) / whole
    assert len(rows) == 2 * 60


def test_claims_are_judged_again_with_a_host_time_in_each_round():
    """The added time makes one switch a smaller part of a request."""
    evidence = synthetic.on_gpu()
    swept = host_time.needs(evidence.inputs, synthetic.SIZE)["host_time"]
    assert swept.settings["host_us"] == (0, 100, 500, 2_000)
    found = records(
        host_us=[0.0, 2_000.0],
        dataset=[*synthetic.DATASETS, None],
        all_at_once=[False, True],
        requests=[30],
    )
    tables = host_time.find(replace(evidence, records={"host_time": found}))
    rows = tables["host_time"].set_index(["host_us", "policy"])
    assert rows.loc[(2_000, "fcfs"), "percent"] == pytest.approx(-50)
    assert rows["round_ms"].groupby("host_us").first().diff().iloc[1] == pytest.approx(2)
    for host_us in (0, 2_000):
        inputs = replace(evidence.inputs, profile=evidence.inputs.profile.with_host(host_us))
        once = switch_times.switch_ns(inputs, 500)["64 GB/s"]
        share = once / switch_times.inference_ns(inputs, [500])[0]
        assert rows.loc[(host_us, "las"), "switch_share"] == pytest.approx(share)
    verdicts = tables["host_time_verdicts"]
    assert verdicts["claim"].tolist() == 2 * ["latency", "T̃", "switching"]
    assert set(verdicts[verdicts["claim"] == "latency"]["verdict"]) == {PART}


def test_a_host_time_is_added_only_to_costs_from_operator_tables():
    assert host_time.needs(EVIDENCE.inputs, synthetic.SIZE) == {}
    answer = host_time.QUESTION.answer(EVIDENCE)
    assert (answer.tables, answer.text, list(answer.figures)) == ({}, None, [])


def test_interpretations_are_in_percent_of_ours():
    rows = interpretations.find(
        with_records(interpretations=records({"laps-sd": 1.0, "laps-sd:K=2": 1.2, "fcfs": 2.0}))
    )["interpretations"]
    assert rows.set_index("policy")["percent"].to_dict() == pytest.approx(
        {"laps-sd:K=2": 20, "fcfs": 100}
    )
    assert set(rows["seeds"]) == {SEEDS}


def test_each_value_of_a_server_parameter_is_compared():
    tables = server.find(
        with_records(memory=records(kv_slots=["1", "unlimited"]), loads=records(load=[0.5, 0.8]))
    )
    assert list(tables) == ["loads", "memory"]
    some = tables["memory"][tables["memory"]["kv_slots"] == "unlimited"].set_index("policy")
    assert "laps-sd" not in some.index
    assert some.loc["fcfs", "percent"] == pytest.approx(-50)
    assert some["switching_share"].tolist() == pytest.approx([SEEDS / 55] * 5)
    assert set(some["seeds"]) == {SEEDS}


def test_the_effects_of_preemption_and_learning_multiply_to_the_difference(tmp_path):
    names = [f"lengths {s:g}" for s in synthetic.SIZE.stretches]
    for name in names:
        save_trace(EVIDENCE.inputs.trace, tmp_path / f"{name}.parquet")
    evidence = replace(
        with_records(latency=OF_LATENCY, lengths=records(trace=names)),
        files={name: tmp_path / f"{name}.parquet" for name in names},
    )
    tables = preemption.find(evidence)
    assert list(tables["preemption_generated"]["trace"]) == names
    assert sorted(tables["preemption_recorded"]["dataset"]) == ["all", "code", "prose", "sums"]
    for rows in tables.values():
        assert rows["cv"].is_monotonic_increasing
        assert rows["preemption"].tolist() == pytest.approx([100 * (0.8 / 1.25 - 1)] * len(rows))
        assert rows["learning"].tolist() == pytest.approx([25.0] * len(rows))
        product_of_both = (1 + rows["preemption"] / 100) * (1 + rows["learning"] / 100)
        assert (1 + rows["both"] / 100).tolist() == pytest.approx(product_of_both.tolist())
    size = price(EVIDENCE.inputs.trace.only("prose").split()[1], EVIDENCE.inputs.profile).size_ns
    prose = tables["preemption_recorded"].set_index("dataset").loc["prose"]
    assert prose["cv"] == pytest.approx(size.std() / size.mean())


def test_the_gain_from_knowing_acceptance_uses_kv_transfers_as_measured():
    policies = {"lp-sjf": 1.0, "lp-sjf-mean": 0.9, "lp-srpt": 1.0, "srpt": 0.7}
    measured = records(
        policies, trace=["spread 4"], length_predictor=["noisy:0.5"], load=[0.8], swap_scale=[1.0]
    )
    expensive = measured.assign(swap_scale=250.0, mean_latency_s=1.0)
    found = acceptance.find(with_records(map=pd.concat([measured, expensive])))
    rows = found["value_of_acceptance"]
    assert rows[["spread", "error", "load"]].to_numpy().tolist() == [[4, 0.5, 0.8]]
    assert rows[["sjf", "srpt"]].to_numpy().tolist() == [[pytest.approx(-10), pytest.approx(-30)]]


def test_stability_tests_are_compared_with_each_other(tmp_path):
    """γ = 3, δ = 0.1 is the best of the grid and 2 rounds the best fixed number.

    Shuffling makes LAPS-SD 20 % slower.
    """
    factors = {"fcfs": 2.0, "laps-sd": 1.0}
    factors |= dict.fromkeys(
        stability.needs(EVIDENCE.inputs, synthetic.SIZE)["stability"].policies[5:], 1.1
    )
    factors |= {"laps-sd:gamma=3,delta=0.1": 0.8, "laps-sd:count=2": 0.5, stability.LATE: 1.6}
    settings = {"dataset": [*synthetic.DATASETS, None]}
    recorded = records(factors, trace=["recorded"], **settings)
    shuffled = records(factors | {"laps-sd": 1.2}, trace=["shuffled"], **settings)
    save_trace(EVIDENCE.inputs.trace, tmp_path / "shuffled.parquet")
    evidence = replace(
        with_records(stability=pd.concat([recorded, shuffled])),
        files={"shuffled": tmp_path / "shuffled.parquet"},
    )
    tables = stability.find(evidence)
    tests = tables["stability"]
    assert set(tests["kind"]) == set(stability.KINDS)
    ours = tests[(tests["policy"] == "laps-sd") & (tests["dataset"] == "all")].set_index("trace")
    assert ours["percent"].to_dict() == pytest.approx({"recorded": -50, "shuffled": -40})
    stable = stable_rounds(EVIDENCE.inputs.trace, LapsSD())
    assert ours.loc["recorded", "share"] == (stable > 0).mean()
    control = tables["controls"].set_index("dataset").loc["prose"]
    assert control["shuffling"] == pytest.approx(10)
    assert (control["range_best"], control["count_best"]) == ("γ = 3, δ = 0.1", "2 rounds")
    assert control["range"] == pytest.approx(-20)
    assert control["count"] == pytest.approx(-50)
    assert control["range_to_count"] == pytest.approx(60)
    assert control["window"] == pytest.approx(10)
    sensitivity = tables["sensitivity"].set_index("dataset")
    assert list(sensitivity.index) == synthetic.DATASETS
    assert set(sensitivity["best"]) == {"γ = 3, δ = 0.1"}
    assert sensitivity["default"].tolist() == pytest.approx([25.0] * 3)
    assert sensitivity["late"].tolist() == pytest.approx([100.0] * 3)


def test_errors_of_estimated_times_are_measured_on_the_test_half():
    rows = estimates.find(EVIDENCE)["estimate_errors"].set_index(["dataset", "predictor"])
    stable = stable_rounds(EVIDENCE.inputs.split().test.trace, LapsSD())
    pooled = rows.loc["all", "oracle"]
    assert pooled["requests"] == (stable > 0).sum()
    assert pooled["perceptible"] == (stable > 0).mean()
    assert pooled["round"] == np.median(stable[stable > 0])
    assert pooled["length"] == 0
    assert rows.loc[("all", "noisy:0.5"), "length"] > 0.2
    assert set(rows.index.get_level_values("predictor")) == {
        "oracle",
        "noisy:0.5",
        "regressed:0.6",
        "learned",
    }
