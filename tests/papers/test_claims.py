"""Tests of verdicts on synthetic findings, and of findings whose values are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lapsd import policy_context
from lapsd.papers.differences import points, selected
from lapsd.papers.inputs import Inputs
from lapsd.papers.laps_sd import switch_times
from lapsd.papers.laps_sd.claims import estimates, latency, queues, switching
from lapsd.papers.question import Unanswerable
from lapsd.papers.report import HOLDS, NOT, NOT_TESTED, PART
from lapsd.policies import LapsSD
from lapsd.sim.experiment.stability import stable_rounds, transition_errors
from lapsd.traces import load_profile, load_trace, price
from tests.papers import synthetic

INPUTS = Inputs("reference", "reference", load_trace("reference"), load_profile("reference"))
EVIDENCE = synthetic.evidence()


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda d, a, p: -45.0, HOLDS),
        (lambda d, a, p: -38.5, PART),  # that the interval includes 39 % shows nothing
        (lambda d, a, p: -45.0 if p == "fcfs" else -5.0, PART),
        (lambda d, a, p: -45.0 if p == "fcfs" else -0.5, NOT),  # not significant
        # the best of several data sets and kinds of arrivals gives no verdict
        (lambda d, a, p: -45.0 if (d, a) != ("all", False) else 5.0, NOT),
        (lambda d, a, p: -45.0 if (d, a) == ("all", False) else 5.0, HOLDS),
        # LP-SRPT and SRPT are not baselines of the paper
        (lambda d, a, p: -60.0 if p in ("lp-srpt", "srpt") else 0.0, NOT),
    ],
)
def test_the_verdict_on_latency(change, verdict):
    assert latency.say(EVIDENCE, synthetic.latency(change)).verdict == verdict


def test_the_verdict_names_the_policies_that_laps_sd_is_slower_than():
    tables = synthetic.latency(lambda d, a, p: 7.0 if (d, p) == ("code", "las") else -40.0)
    assert (
        "slower than LAS on code; LAS with all requests at once on code."
        in latency.say(EVIDENCE, tables).why
    )


def test_latency_needs_a_trace_with_three_data_sets():
    with pytest.raises(Unanswerable, match="the trace has 2 data sets .* three are needed"):
        latency.find(synthetic.evidence(datasets=2))


@pytest.mark.parametrize(
    ("total", "verdict"),
    [
        (lambda d, p: 0.05, HOLDS),
        (lambda d, p: 0.078, NOT),  # that the interval includes 6.84 % shows nothing
        (lambda d, p: 0.2, NOT),
        (lambda d, p: 0.05 if p == "oracle" else 0.3, PART),
        (lambda d, p: 0.05 if p == "learned" else 0.3, NOT),
        (lambda d, p: 0.05 if d != "all" else 0.3, NOT),
    ],
)
def test_the_verdict_on_the_estimate(total, verdict):
    assert estimates.say(EVIDENCE, synthetic.estimate_errors(total)).verdict == verdict


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ({"bus": 0.07}, HOLDS),
        ({"bus": 0.28, "recompute": 0.5}, HOLDS),
        ({"bus": 0.06}, NOT),
        ({"bus": 0.29}, NOT),
        ({"bus": 0.01, "naive": 0.14, "recompute": 0.14}, NOT),
    ],
)
def test_the_verdict_on_switching(shares, verdict):
    assert switching.say(EVIDENCE, synthetic.switching(**shares)).verdict == verdict


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ({"64 GB/s": 0.07, "2 GB/s": 0.5}, HOLDS),
        ({"64 GB/s": 0.06, "2 GB/s": 0.28}, NOT),
        ({"64 GB/s": 0.06, "2 GB/s": 0.5, "recompute": 0.14}, NOT),
    ],
)
def test_the_verdict_on_switching_is_by_the_rate_of_the_profiles_link(shares, verdict):
    """Another rate is not the machine's own: it gives no verdict."""
    claim = switching.say(synthetic.on_gpu(), synthetic.switching(**shares))
    assert claim.verdict == verdict
    assert [row[0] for row in claim.table.rows][:2] == ["64 GB/s (the profile's link)", "2 GB/s"]


@pytest.mark.parametrize("share", [0.001, 0.14])
def test_a_profile_of_a_cpu_does_not_test_the_claim_on_switching(share):
    assert switching.say(synthetic.on_cpu(), synthetic.switching(bus=share)).verdict == NOT_TESTED


def test_a_swap_takes_the_bytes_of_the_cache_over_the_rate_of_the_link():
    """Two GPUs swap half of a token's 1,000,000 bytes each; each transfer has a base of 2 ms."""
    inputs = synthetic.on_gpu(gb_s=25, gpus=2).inputs
    link = switch_times.link_of(inputs.profile)
    assert link.rate == pytest.approx(25)
    assert link.rates == pytest.approx([25, 64, 32, 20, 8, 2])  # 25 GB/s appears once
    tokens = int(np.median(inputs.trace.prompt_tokens)) + 500
    by_way = switch_times.switch_ns(inputs, 500)
    assert by_way["25 GB/s"] == pytest.approx(2 * inputs.profile.costs.swap_out(tokens))
    assert by_way["2 GB/s"] == pytest.approx(4e6 + 2 * tokens * 500_000 / 2)
    assert list(by_way) == [
        *("25 GB/s", "64 GB/s", "32 GB/s", "20 GB/s", "8 GB/s", "2 GB/s"),
        "recompute",
    ]
    assert link.switch_ns(tokens, link.rate_for(tokens, 3e8)) == pytest.approx(3e8)
    assert np.isnan(link.rate_for(tokens, 4e6))  # no link is faster than the base


def test_only_a_profile_that_knows_the_bytes_of_a_cache_has_a_link():
    assert switch_times.link_of(INPUTS.profile) is None
    profile = synthetic.on_gpu().inputs.profile
    assert switch_times.link_of(profile.with_swap(scale=0)) is None


def test_one_switch_at_the_papers_scale_takes_14_percent_of_a_500_token_request():
    scale = switch_times.paper_scale(INPUTS)
    costs = INPUTS.profile.with_swap(scale=scale).costs
    tokens = int(np.median(INPUTS.trace.prompt_tokens)) + 500
    switch_ns = costs.swap_out(tokens) + costs.swap_in(tokens)
    assert switch_ns / switch_times.inference_ns(INPUTS, [500])[0] == pytest.approx(0.14, rel=0.005)


def test_a_typical_request_is_priced_round_by_round():
    inputs = synthetic.inputs()
    tokens, rounds = int(inputs.trace.output_tokens.sum()), int(inputs.trace.rounds.sum())
    typical = switch_times.typical_requests(inputs.trace, [1, 7, 60])
    assert typical.output_tokens.tolist() == [1, 7, 60]
    assert typical.rounds.tolist() == [-(-n * rounds // tokens) for n in (1, 7, 60)]
    assert set(typical.prompt_tokens) == {int(np.median(inputs.trace.prompt_tokens))}
    accepted = typical.accepted[typical.rounds_of(2)]
    assert set(accepted[:-1]) == {tokens // rounds - 1, tokens // rounds}
    context, cost, spent = int(typical.prompt_tokens[2]), inputs.profile.round_cost(), 0
    for count in accepted.tolist():
        spent += cost(4, context)
        context += count + 1
    assert context == typical.prompt_tokens[2] + 60
    assert (
        switch_times.inference_ns(inputs, [60])[0]
        == spent + price(typical, inputs.profile).prefill_ns[2]
    )


def test_the_claim_on_switching_needs_a_profile_with_switching_costs():
    with pytest.raises(Unanswerable, match="no switching costs"):
        switching.find(synthetic.evidence(swap_ms=0.0))


def queue_records(best):
    """Return mean latencies that are lowest at K = `best[requests]`, by a clear margin."""
    rng = np.random.default_rng(0)
    rows = []
    for fixed in (False, True):
        for requests, top in best.items():
            for seed in range(30):
                for k in range(1, 9):
                    value = 1 + 0.1 * (k != top) + 0.01 * rng.random()
                    rows.append(
                        {
                            "policy": f"laps-sd:K={k}",
                            "sup_1_s": 0.03 if fixed else np.nan,
                            "requests": requests,
                            "seed": seed,
                            "K": k,
                            "mean_latency_s": value,
                        }
                    )
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("best", "verdict"),
    [({10: 6, 30: 4}, HOLDS), ({10: 8, 30: 3}, PART), ({10: 4, 30: 4}, NOT), ({10: 4, 30: 6}, NOT)],
)
def test_the_verdict_on_the_number_of_queues(best, verdict):
    tables = queues.find(replace(EVIDENCE, records={"queues": queue_records(best)}))
    assert tables["queues"].groupby(["sup_1", "requests"])["best"].sum().tolist() == pytest.approx(
        [1.0] * 4
    )
    assert queues.say(EVIDENCE, tables).verdict == verdict


def test_the_map_divides_mean_latency_by_the_mean_bound():
    """Latencies of 1 and 9 s over bounds of 1 and 3 s give 10 / 4, not the mean of 1 and 3."""
    from lapsd.papers.laps_sd.questions import winners

    policies = ("fcfs", "las", "lp-sjf", "lp-srpt", "laps-sd")
    rows = [
        {
            "trace": "spread 1",
            "length_predictor": "noisy:0.5",
            "load": 0.8,
            "swap_scale": 1.0,
            "seed": seed,
            "policy": policy,
            "mean_latency_s": latency_s * (1 + 0.1 * i),
            "bound_s": bound_s,
        }
        for seed, (latency_s, bound_s) in enumerate([(1.0, 1.0), (9.0, 3.0)])
        for i, policy in enumerate(policies)
    ]
    cells = winners.find(replace(EVIDENCE, records={"map": pd.DataFrame(rows)}))["map"]
    assert cells["best"].tolist() == ["fcfs"]
    assert cells["over_bound"].tolist() == [2.5]
    assert cells["spread"].tolist() == [1]
    assert cells["error"].tolist() == [0.5]


def test_the_best_policy_is_selected_and_reported_on_different_seeds():
    lucky = np.array([0.5, 1.2] * 20)  # best on the selecting seeds, worse on the reporting seeds
    table = pd.DataFrame({"a": lucky, "b": np.ones(40), "base": np.ones(40)})
    chosen = selected(table, ["a", "b"], "base")
    assert chosen.policy == "a"
    assert chosen.against.value == pytest.approx(20.0)


def test_the_estimated_time_of_one_request_is_compared_with_its_recorded_rounds():
    """Compute T̃ by hand at the round of its transition, and divide it by the true decoding time."""
    priced, train, _ = INPUTS.split("code")
    stable = stable_rounds(priced.trace, LapsSD())
    row = int(np.flatnonzero(stable)[0])
    span = priced.trace.rounds_of(row)
    accepted = priced.trace.accepted[span][: stable[row]]
    per_round = accepted.sum() / stable[row] + 1
    estimate = train.mean_round_ns() * priced.trace.output_tokens[row] / per_round
    found = transition_errors(
        priced, policy_context(train), priced.trace.output_tokens, LapsSD()
    ).iloc[0]
    assert found["total"] == pytest.approx(estimate / priced.round_ns[span].sum() - 1)
    assert (1 + found["length"]) * (1 + found["acceptance"]) * (1 + found["cost"]) == pytest.approx(
        1 + found["total"]
    )


def test_the_interval_of_the_change_of_a_ratio_agrees_with_resampling():
    rng = np.random.default_rng(4)
    fcfs, noise = rng.lognormal(0, 1, 400), rng.normal(0, 0.05, (2, 400))
    before = pd.DataFrame({"fcfs": fcfs, "laps-sd": fcfs * (0.6 + noise[0])})
    after = pd.DataFrame({"fcfs": fcfs * 1.01, "laps-sd": fcfs * 1.01 * (0.63 + noise[1])})
    found = points(after, before, "laps-sd", "fcfs")
    assert found.value == pytest.approx(3, abs=1)
    draws = []
    for _ in range(500):
        rows = rng.integers(400, size=400)
        a, b = after.iloc[rows], before.iloc[rows]
        draws.append(
            100 * (a["laps-sd"].mean() / a["fcfs"].mean() - b["laps-sd"].mean() / b["fcfs"].mean())
        )
    assert (found.high - found.low) / 2 == pytest.approx(1.97 * np.std(draws), rel=0.15)
