"""Tests of the reproduction of ALISE on synthetic records, and of a whole run on few requests."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lapsd.papers.alise import ablation, blocking, throughput, time_model, waste
from lapsd.papers.alise.paper import ALISE
from lapsd.papers.alise.systems import SYSTEMS, memories, rates, requests
from lapsd.papers.inputs import Inputs
from lapsd.papers.papers import paper_of
from lapsd.papers.question import Evidence, Unanswerable
from lapsd.papers.report import HOLDS, NOT, NOT_TESTED, PART
from lapsd.papers.reproduction import reproduce
from lapsd.traces import Profile, load_profile, load_trace, ordinary_decoding, save_trace

TINY = replace(ALISE.quick, claims=2, others=2, loads=(0.3, 2.0), generated=12)
INPUTS = Inputs(
    "azure-conversations",
    "opt-13b-a100",
    load_trace("azure-conversations"),
    load_profile("opt-13b-a100"),
)


def curves(factors, seeds=6):
    """Return records of systems whose normalized latency is about exp(rate · factor) / 100 s.

    The rate is scaled by a factor that grows with the seed.
    """
    records = {}
    for system in SYSTEMS:
        rows = [
            {
                "seed": seed,
                "rate": rate,
                "kv_tokens": tokens,
                throughput.METRIC: np.exp(rate * factors.get(system, 1.0) * (1 + 0.01 * seed))
                / 100,
                throughput.TAIL: np.exp(rate) / 50,
                throughput.SCALE: np.exp(rate * factors.get(system, 1.0)) / 2,
            }
            for seed in range(seeds)
            for rate in (0.5, 1.0, 2.0, 4.0, 16.0)
            for tokens in memories(INPUTS).values()
        ]
        records[f"curve {system}"] = pd.DataFrame(rows)
    return Evidence(INPUTS, TINY, records)


def test_the_rate_at_a_constraint_is_interpolated_on_the_log_of_the_metric():
    records = curves({}).records["curve vllm"]
    found = throughput.rates_at(records[records["kv_tokens"] == 12_207], throughput.METRIC, 0.3)
    assert found == pytest.approx([np.log(30) / (1 + 0.01 * seed) for seed in range(6)])
    assert np.isnan(throughput.rates_at(records, throughput.METRIC, 1e-9)).all()
    assert np.isnan(throughput.rates_at(records, throughput.METRIC, 1e9)).all()


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, HOLDS), (0.8, PART), (1.3, NOT)])
def test_the_claim_on_throughput_is_judged_by_the_ratio_to_vllm(factor, verdict):
    evidence = curves({"alise": factor})
    tables = throughput.find(evidence)
    rows = tables["throughput"].set_index(["memory", "system", "constraint"])
    for constraint in ("0.15 s", "95 % within 6.2 s + 0.6 s"):
        assert rows.loc[("40 GB", "vllm", constraint), "alise_over"] == pytest.approx(
            1 / factor, rel=1e-6
        )
    claim = throughput.say(evidence, tables)
    assert claim.verdict == verdict
    assert f"{1 / factor:.2f} [" in claim.short
    assert "40 GB, mean of 0.1 s per output token" in claim.short
    assert "16 requests" in " ".join(claim.findings)
    assert [figure.number for figure in throughput.draw(evidence, tables)] == [6, 7]


def test_no_other_constraint_than_the_primary_one_gives_a_verdict():
    evidence = curves({"alise": 0.8})
    tables = throughput.find(evidence)
    rows = tables["throughput"]
    others = (rows["system"] == "vllm") & ~(
        (rows["memory"] == "40 GB") & (rows["constraint"] == throughput.PRIMARY)
    )
    ratios = ["alise_over", "ratio_low", "ratio_high"]
    rows.loc[others, ratios] = (3.0, 2.9, 3.1)
    claim = throughput.say(evidence, tables)
    assert claim.verdict == PART
    assert claim.short.startswith("1.25 [")
    assert "3.00 [2.90, 3.10]" in claim.findings[1]
    assert "without a verdict" in claim.findings[1]
    rows.loc[~others & (rows["system"] == "vllm"), ratios] = np.nan
    assert throughput.say(evidence, tables).verdict == NOT_TESTED


def test_mean_and_p90_are_drawn_in_two_panels_with_one_line_per_system():
    evidence = curves({"alise": 0.5})
    figure = throughput.draw(evidence, throughput.find(evidence))[0].draw()
    mean, p90 = figure.axes
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["mean of requests, 40 GB", "p90 of requests, 40 GB"]
    assert [axis.get_xlabel() for axis in figure.axes] == ["arrival rate, requests/s"] * 2
    assert mean.get_ylabel() == "normalized latency, s/token"
    assert mean.get_yscale() == p90.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        s.label for s in SYSTEMS.values()
    ]
    at, number = np.array([0.5, 1, 2, 4, 16]), list(SYSTEMS).index("alise")
    means = np.mean([np.exp(at * 0.5 * (1 + 0.01 * seed)) / 100 for seed in range(6)], axis=0)
    for axis, expected in ((mean, means), (p90, np.exp(at) / 50)):
        line = axis.containers[number].lines[0]
        assert line.get_xdata() == pytest.approx(at)
        assert line.get_ydata() == pytest.approx(expected)


def test_the_memory_of_a_profile_with_a_kv_capacity_is_that_capacity_and_40_gb_less():
    """An A100 of 80 GB: 819,200 bytes per token of OPT-13B, so 36 GB hold 43,945 tokens."""
    tables = load_profile("opt-13b-a100-tables")
    found = memories(replace(INPUTS, profile=tables))
    whole = tables.kv_capacity.tokens
    assert found == {"40 GB less": whole - 43_945, "whole memory": whole}
    assert min(found.values()) == pytest.approx(min(memories(INPUTS).values()), rel=0.05)
    sweeps = throughput.needs(replace(INPUTS, profile=tables), TINY)
    assert sweeps["curve alise, 40 GB less"].settings["kv_tokens"] == (whole - 43_945,)
    few = replace(tables, kv_capacity=replace(tables.kv_capacity, tokens=45_000))
    assert memories(replace(INPUTS, profile=few)) == {"whole memory": 45_000}
    unknown = replace(tables, kv_capacity=replace(tables.kv_capacity, tokens=None))
    with pytest.raises(Unanswerable, match="how many KV tokens fit"):
        memories(replace(INPUTS, profile=unknown))


def test_variants_are_compared_with_unchanged_alise():
    latency = 0.1 * (1 + 0.1 * np.arange(5))
    records = {
        f"part {name}": pd.DataFrame(
            {
                "seed": range(5),
                throughput.METRIC: latency * (1.5 if name == "no ageing" else 1),
                throughput.TAIL: 0.2,
                "preemptions": 3,
                "switching_s": 1.0,
                "busy_s": 4.0,
            }
        )
        for name in ablation.PARTS
    }
    evidence = Evidence(INPUTS, TINY, records)
    tables = ablation.find(evidence)
    rows = tables["ablation"].set_index("part")
    assert rows.loc["no ageing", "percent"] == pytest.approx(50)
    assert rows.loc["whole", "percent"] == 0
    text = ablation.say(evidence, tables).paragraphs[0]
    assert "significantly higher mean: no ageing." in text
    # both orders are equal in these records
    assert blocking.say(evidence, blocking.find(evidence)).verdict == NOT


def test_the_published_time_model_neglects_the_growth_of_the_context():
    found = time_model.find(Evidence(INPUTS, TINY))
    errors = found["errors"].set_index(["form", "part"])
    assert errors.loc[("exact", "whole"), "median_error"] == pytest.approx(0, abs=1e-6)
    assert errors.loc[("published", "decoding"), "bias"] < 0
    assert errors.loc[("published", "prefill"), "median_error"] > 0.02
    assert time_model.draw(Evidence(INPUTS, TINY), found)[0].number == 5


def test_arrival_rates_follow_the_capacity_of_full_batches():
    small, large = memories(INPUTS).values()
    low, high = rates(INPUTS, TINY, small)
    assert high / low == pytest.approx(2 / 0.3, rel=0.05)
    assert rates(INPUTS, TINY, large)[0] > 1.5 * low
    # 57 requests fit in the larger memory
    assert [requests(INPUTS, TINY, tokens) for tokens in (small, large)] == [12, 17]


def test_a_profile_without_memory_sizes_leaves_out_the_curves():
    inputs = replace(INPUTS, profile=Profile.constant(1, 1))
    assert throughput.needs(inputs, TINY) == {}
    with pytest.raises(Unanswerable, match="does not say how many KV tokens fit"):
        throughput.find(Evidence(inputs, TINY))


def test_the_whole_reproduction_runs_on_few_requests(tmp_path):
    rng = np.random.default_rng(0)
    save_trace(
        ordinary_decoding(rng.integers(1, 60, 20), rng.integers(2, 40, 20)), tmp_path / "t.parquet"
    )
    left_out = reproduce(
        tmp_path / "out",
        paper=paper_of("alise"),
        trace=str(tmp_path / "t.parquet"),
        size=TINY,
        workers=1,
    )
    assert [line.split(":")[0] for line in left_out if "predictor" in line] == [
        "the length predictor"
    ]
    text = (tmp_path / "out" / "claims.md").read_text()
    assert "vLLM" in text
    assert (tmp_path / "out" / "figures" / "figure-06.png").stat().st_size > 10_000
    assert {p.name for p in (tmp_path / "out" / "tables").iterdir()} >= {
        "ablation.csv",
        "curves.csv",
        "errors.csv",
    }


def test_memory_reserved_for_the_longest_output_is_mostly_not_filled(monkeypatch):
    monkeypatch.setattr(waste, "SEEDS", 1)
    evidence = Evidence(INPUTS, replace(TINY, generated=40, loads=(3.0,)))
    tables = waste.find(evidence)
    rows = tables["waste"].set_index("manager")
    assert rows.sum(axis=1).to_numpy() == pytest.approx(1)
    assert (rows.to_numpy() >= 0).all()
    assert rows.loc["ORCA, largest output", "unfilled"] > 5 * rows.loc["blocks of 16", "unfilled"]
    unfilled = rows.loc[
        ["single tokens", "blocks of 16", "blocks of 32", "blocks of 128"], "unfilled"
    ]
    assert unfilled.is_monotonic_increasing
    assert "blocks of 16 tokens" in waste.say(evidence, tables).paragraphs[0]
    (figure,) = waste.draw(evidence, tables)
    (axes,) = figure.draw().axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(waste.MANAGERS)
    assert axes.get_xlabel() == "share of KV memory"
    with pytest.raises(Unanswerable, match="no request waits"):
        waste.find(Evidence(INPUTS, replace(TINY, generated=2, loads=(0.01,))))
