"""Verdicts follow their rules: made-up findings, whose verdicts are known."""

import numpy as np
import pandas as pd
import pytest

from sim.reproduce import claims, findings
from sim.reproduce.content import HOLDS, NOT, PART
from sim.reproduce.plan import PREDICTOR, Inputs
from traces import load_profile, load_trace

INPUTS = Inputs("reference", "reference", load_trace("reference"), load_profile("reference"))
DATASETS = [*INPUTS.datasets, "all"]


def latency_rows(change):
    """LAPS-SD's `change(dataset, at_once, policy)` in percent, ± 1."""
    rows = []
    for dataset in DATASETS:
        for at_once in (False, True):
            for policy in ("fcfs", "las", "lp-sjf", "lp-srpt", "laps-sd", "srpt"):
                value = change(dataset, at_once, policy)
                rows.append({
                    "dataset": dataset, "all_at_once": at_once, "requests": 30, "policy": policy, "percent": value,
                    "percent_low": value - 1, "percent_high": value + 1, "seeds": 100,
                })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda d, a, p: -45.0, HOLDS),
        (lambda d, a, p: -38.5, HOLDS),  # the interval reaches 39 %
        (lambda d, a, p: -37.0, NOT),
        (lambda d, a, p: -45.0 if p == "fcfs" else -5.0, PART),
        (lambda d, a, p: -45.0 if (d, a, p) == ("prose", True, "lp-sjf") else 5.0, PART),
        (lambda d, a, p: -60.0 if p in ("lp-srpt", "srpt") else -5.0, NOT),  # no baselines of the paper
    ],
)
def test_the_verdict_on_latency(change, verdict):
    claim = claims.latency_claim(latency_rows(change), INPUTS)
    assert claim.verdict == verdict


def test_what_laps_sd_is_slower_than_is_said():
    claim = claims.latency_claim(latency_rows(lambda d, a, p: 7.0 if (d, p) == ("code", "las") else -40.0), INPUTS)
    assert "slower than LAS on code; LAS with all requests at once on code." in claim.why


def error_rows(total):
    rows = []
    for dataset in DATASETS:
        for predictor in INPUTS.error_predictors:
            row = {"dataset": dataset, "predictor": predictor, "rate": 0.2, "perceptible": 0.8, "round": 12.0}
            for part in ("total", "length", "acceptance", "cost"):
                value = total(dataset, predictor)
                row |= {part: value, f"{part}_low": value - 0.01, f"{part}_high": value + 0.01}
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("total", "verdict"),
    [
        (lambda d, p: 0.05, HOLDS),
        (lambda d, p: 0.078, HOLDS),  # within the interval
        (lambda d, p: 0.2, NOT),
        (lambda d, p: 0.05 if p == "oracle" else 0.3, PART),
        (lambda d, p: 0.05 if (d, p) == ("prose", PREDICTOR) else 0.3, PART),
    ],
)
def test_the_verdict_on_the_estimate(total, verdict):
    assert claims.error_claim(error_rows(total), INPUTS).verdict == verdict


def test_the_verdict_on_switching():
    tails = pd.DataFrame({"policy": ["laps-sd"], "switching_share": [0.001]})
    assert claims.switching_claim(INPUTS, tails).verdict == NOT
    dear = INPUTS.profile.with_swap(scale=INPUTS.paper_scale).costs
    ways = {"bus": type(next(iter(dear.swap_ways.values())))(dear.swap_out, dear.swap_in)}
    from dataclasses import replace

    changed = replace(INPUTS, profile=replace(INPUTS.profile, costs=replace(dear, swap_ways=ways)))
    claim = claims.switching_claim(changed, tails)
    assert claim.verdict == HOLDS
    assert {row[0]: row[2] for row in claim.table.rows}["bus"] == "1"


def queue_records(best):
    """Mean latencies with the lowest at K = `best[requests]`, by a clear margin."""
    rng = np.random.default_rng(0)
    rows = []
    for fixed in (False, True):
        for requests, top in best.items():
            for seed in range(30):
                for k in range(1, 9):
                    value = 1 + 0.1 * (k != top) + 0.01 * rng.random()
                    rows.append({
                        "policy": f"laps-sd:K={k}", "sup_1_s": 0.03 if fixed else np.nan, "requests": requests,
                        "seed": seed, "K": k, "mean_latency_s": value,
                    })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("best", "verdict"),
    [({10: 6, 30: 4}, HOLDS), ({10: 8, 30: 3}, PART), ({10: 4, 30: 4}, NOT), ({10: 4, 30: 6}, NOT)],
)
def test_the_verdict_on_the_number_of_queues(best, verdict):
    records = queue_records(best)
    rows = findings.queues(records)
    assert rows.groupby(["sup_1", "requests"])["best"].sum().tolist() == pytest.approx([1.0] * 4)
    claim = claims.queues_claim(rows, findings.falling_best(records, 10, 30))
    assert claim.verdict == verdict


def test_the_best_is_selected_on_other_seeds_than_it_is_quoted_from():
    lucky = np.array([0.5, 1.2] * 20)  # best on the seeds that select, worse on those that report
    table = pd.DataFrame({"a": lucky, "b": np.ones(40), "base": np.ones(40)})
    chosen = findings.selected(table, ["a", "b"], "base")
    assert chosen.policy == "a"
    assert chosen.against.value == pytest.approx(20.0)


def test_the_estimate_is_held_against_recorded_times():
    """One request by hand: T̃ from what a server knew at its transition, over what its rounds really took."""
    from policies import LapsSD
    from sim.experiment.stability import stable_rounds, transition_errors
    from sim.experiment.stage import Stage

    priced, outlook, _ = Stage.of(INPUTS.trace, INPUTS.profile, dataset="code").halves
    stable = stable_rounds(priced.trace, LapsSD())
    row = int(np.flatnonzero(stable)[0])
    span = priced.trace.rounds_of(row)
    accepted = priced.trace.accepted[span][: stable[row]]
    per_round = accepted.sum() / stable[row] + 1
    estimate = outlook.mean_round_ns * priced.trace.output_tokens[row] / per_round
    found = transition_errors(priced, outlook, priced.trace.output_tokens, LapsSD()).iloc[0]
    assert found["total"] == pytest.approx(estimate / priced.round_ns[span].sum() - 1)
    assert (1 + found["length"]) * (1 + found["acceptance"]) * (1 + found["cost"]) == pytest.approx(
        1 + found["total"]
    )


def test_the_change_of_a_ratio_is_as_uncertain_as_resampling_says():
    rng = np.random.default_rng(4)
    fcfs, noise = rng.lognormal(0, 1, 400), rng.normal(0, 0.05, (2, 400))
    before = pd.DataFrame({"fcfs": fcfs, "laps-sd": fcfs * (0.6 + noise[0])})
    after = pd.DataFrame({"fcfs": fcfs * 1.01, "laps-sd": fcfs * 1.01 * (0.63 + noise[1])})
    found = findings._points(after, before)
    assert found.value == pytest.approx(3, abs=1)
    draws = []
    for _ in range(500):
        rows = rng.integers(400, size=400)
        a, b = after.iloc[rows], before.iloc[rows]
        draws.append(100 * (a["laps-sd"].mean() / a["fcfs"].mean() - b["laps-sd"].mean() / b["fcfs"].mean()))
    assert (found.high - found.low) / 2 == pytest.approx(1.97 * np.std(draws), rel=0.15)
