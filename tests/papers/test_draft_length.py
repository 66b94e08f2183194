"""Tests of the report on draft lengths: verdicts on synthetic findings, and a tiny whole run."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from lapsd.papers.draft_length import (
    estimate,
    fixed,
    joint,
    knowledge,
    lengths,
    own_rules,
    published as checks,
)
from lapsd.papers.draft_length.paper import DRAFT_LENGTH, QUESTIONS
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.report import HOLDS, NOT, PART
from lapsd.papers.reproduction import reproduce
from lapsd.traces import load_profile, load_trace
from tests.papers import synthetic
from tests.papers.synthetic import around, percent

EVIDENCE = replace(synthetic.evidence(), size=DRAFT_LENGTH.quick)
TINY = Size("tiny", 2, 2, 2, 2, 2, (), (), (0.8,), (), 0)


def length_rows(**ahead: float) -> dict[str, pd.DataFrame]:
    """Return differences of draft policies to the best fixed length, 1 % above it if not given."""
    rows = [
        {
            "batch": batch,
            "load": load,
            "drafts": drafts,
            "best": 5,
            **percent(ahead.get(fixed.RULES.get(drafts, drafts), 1.0), 0.5),
            "best_s": 1.0,
            "seeds": 9,
        }
        for batch in (1, 64)
        for load in (0.8, 1.1)
        for drafts in (fixed.OFF, *fixed.FIXED, *lengths.SHOWN)
    ]
    return {"lengths": pd.DataFrame(rows)}


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [
        ({"priced": -1}, HOLDS),
        ({"priced": 1.5}, HOLDS),
        ({"priced": 1.6}, NOT),
        (dict.fromkeys(fixed.RULES.values(), 3), NOT),
    ],
)
def test_the_verdict_on_lengths_is_by_the_upper_end_of_our_policy(ahead, verdict):
    claim = lengths.QUESTION.say(EVIDENCE, length_rows(**ahead))
    assert claim.verdict == verdict
    shown = 4 if verdict == HOLDS else 0
    assert claim.short == f"priced: shown to be within 2 % in {shown} of 4 cells"
    assert len(claim.table.rows) == 4


def test_the_best_of_several_draft_policies_gives_no_verdict():
    """Another policy is near everywhere; ours is not in one of four cells."""
    tables = length_rows(priced=1, survival=-5)
    rows = tables["lengths"]
    rows.loc[(rows["drafts"] == fixed.PRICED).idxmax(), ["percent", "high"]] = (3.0, 3.5)
    claim = lengths.QUESTION.say(EVIDENCE, tables)
    assert claim.verdict == PART
    assert "at most 2 % in 3 of 4 cells" in claim.why


def joint_rows(order: float, length: float, within: float) -> dict[str, pd.DataFrame]:
    """Return what an order and a length gain alone, and the length within the order."""
    rows = [
        {
            "batch": batch,
            "load": 0.8,
            "order": name,
            "drafts": drafts,
            **around("together", order + within),
            **around("order_alone", 0 if name == "fcfs" else order, 0.5),
            **around("length_alone", length, 0.5),
            **around("within", within, 0.5 * batch),
            **around("over_length", order, 0.5),
            **around("more", 0, 0.5),
            "seeds": 9,
        }
        for batch in (1, 4)
        for name in joint.ORDERS
        for drafts in (joint.BEST, *joint.ADAPTIVE)
    ]
    over = pd.DataFrame([{"batch": 1, "load": 0.8, "drafts": fixed.CONFIDENT, **percent(3)}])
    return {"joint": pd.DataFrame(rows), "laps_sd_over_lp_srpt": over}


@pytest.mark.parametrize(
    ("gains", "verdict", "cells"),
    [
        ((-30, -5, -5), HOLDS, "6 of 6"),
        ((-30, -5, -1), PART, "3 of 6"),
        ((-30, -5, 2), NOT, "0 of 6"),
        ((-0.5, -5, -5), NOT, "0 of 0"),
    ],
)
def test_both_together_must_beat_each_alone(gains, verdict, cells):
    claim = joint.QUESTION.say(EVIDENCE, joint_rows(*gains))
    assert claim.verdict == verdict
    assert cells in claim.short


def test_gains_that_multiply_leave_nothing_more():
    latency = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 4.0], "c": [4.0, 8.0], "d": [8.0, 16.0]})
    assert joint.product(latency, "a", "d", "b", "c") == pytest.approx((0, 0, 0))
    value, low, high = joint.product(latency.assign(a=[1.0, 3.0]), "a", "d", "b", "c")
    assert value == pytest.approx(100 / 3)
    assert low < value < high


@pytest.mark.parametrize(("gain", "verdict"), [(0.05, HOLDS), (0.0, NOT), (-0.05, NOT)])
def test_the_estimate_must_order_requests_better_than_their_lengths(gain, verdict):
    rows = [
        {
            "drafts": drafts,
            "seeds": 9,
            **around("perceptible", 0.5, 0.1),
            **around("error", 0.2, 0.1),
            **around("estimate", 0.9 + gain, 0.01),
            **around("tokens", 0.9, 0.01),
            **around("gain", gain, 0.01),
        }
        for drafts in estimate.DRAFTS
    ]
    claim = estimate.QUESTION.say(EVIDENCE, {"estimate": pd.DataFrame(rows)})
    assert claim.verdict == verdict
    rows[2] |= around("gain", 0.05, 0.01)  # gated
    claim = estimate.QUESTION.say(EVIDENCE, {"estimate": pd.DataFrame(rows)})
    assert claim.verdict == (HOLDS if gain > 0 else NOT)  # one of three


@pytest.mark.parametrize(
    ("more", "other", "verdict"), [(5, 5, HOLDS), (5, 0.5, PART), (5, -5, NOT), (0.5, 0.5, NOT)]
)
def test_confidences_must_add_to_survival(more, other, verdict):
    rows = [
        {
            "batch": batch,
            "load": 0.8,
            "lead_percent": 20.0,
            **{k: v for drafts in knowledge.KNOWING for k, v in around(drafts, 10).items()},
            **around(knowledge.GIVES, gain),
        }
        for batch, gain in ((1, more), (4, other))
    ]
    bins = pd.DataFrame(
        {
            "low": [0, 0.9],
            "high": [0.1, 1],
            "proposals": 5,
            "draft_prob": [0.05, 0.95],
            "accepted": [0.1, 0.9],
            "auc": 0.8,
        }
    )
    tables = {"lead": pd.DataFrame(rows), "reliability": bins}
    claim = knowledge.QUESTION.say(EVIDENCE, tables)
    assert claim.verdict == verdict
    assert "under the ROC curve is 0.800" in claim.findings[0]
    assert [figure.number for figure in knowledge.QUESTION.draw(EVIDENCE, tables)] == [3, 4]


@pytest.mark.parametrize(
    ("small", "large", "verdict"), [(-2, -2, HOLDS), (-2, 0.5, PART), (-2, 2, NOT), (0.5, 0.5, NOT)]
)
def test_our_primary_rule_must_win_and_lose_nowhere(small, large, verdict):
    rows = [
        {
            "batch": batch,
            "load": 0.8,
            "drafts": drafts,
            **percent(ahead if drafts == fixed.PRICED else 3.0),
            "seeds": 9,
        }
        for batch, ahead in ((1, small), (64, large))
        for drafts in own_rules.OWN
    ]
    claim = own_rules.QUESTION.say(EVIDENCE, {"own_rules": pd.DataFrame(rows)})
    assert claim.verdict == verdict
    assert (
        "“remaining times” is significantly faster in 0 cells and slower in 2"
        in (claim.findings[1])
    )


def target_rows(apart: float, flips: bool) -> dict[str, pd.DataFrame]:
    """Return acceptance that differs between batch sizes, and best lengths 7 and 1 or 7 and 7."""
    rows = []
    for batch in (1, 128):
        best = 1 if flips and batch == 128 else 7
        for length in fixed.LENGTHS.values():
            slower = 3.0 * abs(length - best)
            share = 0.5 + apart * (batch > 1)
            own = {"batch": batch, "length": length, "is_best": length == best}
            rows.append(own | around("accepted", share, 0.01) | percent(slower))
        rows[-1] |= around("ema", 5)
    return {"target": pd.DataFrame(rows)}


@pytest.mark.parametrize(
    ("apart", "flips", "verdict"), [(0.01, True, HOLDS), (0.1, True, PART), (0.01, False, NOT)]
)
def test_a_target_loses_if_acceptance_stays_while_the_best_length_changes(apart, flips, verdict):
    claim = checks.TARGET.say(EVIDENCE, target_rows(apart, flips))
    assert claim.verdict == verdict
    assert "+5.0 % [+4.0, +6.0] at b = 128" in claim.findings[2]


@pytest.mark.parametrize(
    ("first", "last", "verdict"), [(-5, 20, HOLDS), (20, 20, PART), (-5, -5, NOT)]
)
def test_the_gain_must_grow_with_concurrency(first, last, verdict):
    rows = [
        {
            "concurrency": clients,
            "seeds": 4,
            **around(fixed.CONFIDENT, gain),
            **around(fixed.PRICED, gain),
            **around(fixed.OFF, -40),
        }
        for clients, gain in ((4, first), (256, last))
    ]
    claim = checks.BY_CONCURRENCY.say(EVIDENCE, {"closed": pd.DataFrame(rows)})
    assert claim.verdict == verdict
    assert [row[1] for row in claim.table.rows] == ["−7.0 %", "+69.7 %"]


def test_the_table_of_a_machine_is_made_once():
    trace, profile = load_trace("reference-confidence"), load_profile("reference")
    inputs = Inputs("reference-confidence", "reference", trace, profile)
    assert fixed.table_spec(inputs).startswith("table:")
    assert fixed.table_spec(inputs) is fixed.table_spec(inputs)


def test_batch_sizes_outside_the_profile_are_left_out():
    trace, profile = load_trace("reference-confidence"), load_profile("reference")
    inputs = Inputs("reference-confidence", "reference", trace, profile)
    assert fixed.batches(inputs) == [b for b in fixed.BATCHES if b <= max(profile.costs.rounds)]
    assert all(
        int(name.partition("-")[2]) <= max(profile.costs.rounds)
        for name in checks.needs_closed(inputs, TINY)
    )


def test_the_whole_report_is_made_at_a_tiny_size(tmp_path, monkeypatch):
    for module, name, few in (
        (fixed, "BATCHES", (1, 4)),
        (fixed, "LEAST_SEEDS", 2),
        (joint, "ORDERS", ("fcfs", "lp-srpt", "laps-sd")),
        (joint, "LOADS", ("0.8",)),
        (own_rules, "LOADS", ("0.8",)),
        (estimate, "REQUESTS", 30),
        (checks, "CONCURRENCY", (1, 4)),
    ):
        monkeypatch.setattr(module, name, few)
    monkeypatch.setattr(fixed, "requests", lambda batch: 20)
    out = tmp_path / "drafts"
    assert reproduce(out, paper=replace(DRAFT_LENGTH, full=TINY), workers=1) == []
    text = (out / "claims.md").read_text(encoding="utf-8")
    assert len(
        re.findall(r"\*\*Verdict: (holds|holds in part|does not hold here)\.\*\*", text)
    ) == len(QUESTIONS)
    assert len(list((out / "figures").glob("*.png"))) == 7
    assert not re.search(r"\bnan\b|\| *None *\|", text)
    found = pd.read_csv(out / "tables" / "lengths.csv")
    assert set(found["batch"]) == {1, 4}
    assert (found.groupby(["batch", "load"])["percent"].min() < 0).all()  # the oracle
