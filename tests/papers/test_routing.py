"""Tests of the report on routing: verdicts on synthetic findings, and a tiny whole run."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lapsd.papers.alise.paper import ALISE
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.report import HOLDS, NOT, PART
from lapsd.papers.reproduction import reproduce
from lapsd.papers.routing import (
    central,
    decisions,
    drafting,
    elsewhere,
    fixed,
    guards,
    lengths,
    matrix,
    prefixes,
    stale,
    substitutes,
    work,
)
from lapsd.papers.routing.paper import QUESTIONS, ROUTING
from lapsd.traces import ArrivalTrace, load_profile, load_trace, save_arrivals
from lapsd.traces.errors import FormatError
from lapsd.traces.prefixes import Prefixes
from tests.compilation import too_slow_in_python
from tests.papers import synthetic
from tests.papers.synthetic import around

EVIDENCE = replace(synthetic.evidence(), size=ROUTING.quick)
TINY = Size("tiny", 2, 2, 2, 2, 2, (), (), (0.5, 0.9), (), 0)
CELLS = [fixed.Cell(batch, 4, load) for batch in (1, 16) for load in (0.5, 0.9)]


def one_cell(router: float, order: float, drafts: float, noise: float = 0.001) -> pd.DataFrame:
    """Return latencies in which each decision alone multiplies latency by its factor."""
    rng = np.random.default_rng(0)
    shared = 1 + rng.random(8)
    table = {}
    for r, by_router in ((fixed.RANDOM, 1.0), (fixed.JSQ, router)):
        for o, by_order in ((fixed.FCFS, 1.0), (fixed.LP_SRPT, order)):
            for d, by_drafts in ((fixed.FIXED, 1.0), (fixed.PRICED, drafts)):
                own = shared * by_router * by_order * by_drafts
                table[r, o, d] = own * (1 + noise * rng.standard_normal(8))
    return pd.DataFrame(table)


@pytest.mark.parametrize(
    ("factors", "leader"),
    [
        ((0.5, 0.8, 0.9), "router"),
        ((0.8, 0.5, 0.9), "order"),
        ((0.8, 0.9, 0.5), "draft policy"),
        ((0.8, 0.8, 0.9), decisions.NO_LEADER),
        ((1.1, 1.2, 1.3), decisions.NO_LEADER),
    ],
)
def test_a_decision_leads_where_it_is_significantly_below_all_others(factors, leader):
    assert decisions.leader(one_cell(*factors)) == leader
    row = decisions.effects(one_cell(*factors))
    assert row["router alone"] == pytest.approx(100 * (factors[0] - 1), abs=0.5)
    assert row["without router"] == pytest.approx(100 * (1 / factors[0] - 1), abs=0.5)
    assert row["all three"] == pytest.approx(100 * (np.prod(factors) - 1), abs=0.5)


def test_a_decision_does_not_lead_within_noise():
    assert decisions.leader(one_cell(0.5, 0.8, 0.9, noise=0.5)) == decisions.NO_LEADER


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (("router", "router", "order", "order"), HOLDS),
        (("router", "router", "none", "none"), PART),
        (("router",) * 4, NOT),
        (("none",) * 4, NOT),
    ],
)
def test_two_decisions_must_lead(kinds, verdict):
    rows = [
        cell._asdict() | decisions.effects(one_cell(0.5, 0.8, 0.9)) | {"leader": kind}
        for cell, kind in zip(CELLS, kinds, strict=True)
    ]
    claim = decisions.QUESTION.say(EVIDENCE, {"decisions": pd.DataFrame(rows)})
    assert claim.verdict == verdict
    assert len(claim.table.rows) == 4


@pytest.mark.parametrize(
    ("more", "alone", "verdict", "cells"),
    [
        ((5, 5), -10, HOLDS, "4 of 4"),
        ((5, 0.5), -10, PART, "2 of 4"),
        ((-5, 0.5), -10, NOT, "0 of 4"),
        ((5, 5), -0.5, NOT, "0 of 0"),
    ],
)
def test_router_and_order_together_must_be_above_the_product(more, alone, verdict, cells):
    rows = [
        {
            **cell._asdict(),
            "router": router,
            "order": order,
            **around("router_alone", alone, 0.4),
            **around("router_within", alone, 0.4),
            **around("order_alone", alone, 0.4),
            **around("order_within", alone, 0.4),
            **around("more", more[cell.batch > 1]),
            "seeds": 8,
        }
        for cell in CELLS
        for router in substitutes.BETTER
        for order in substitutes.SIZED
    ]
    claim = substitutes.QUESTION.say(EVIDENCE, {"router_and_order": pd.DataFrame(rows)})
    assert claim.verdict == verdict
    assert cells in claim.short


@pytest.mark.parametrize(
    ("change", "half", "verdict"),
    [((0, 0), 1.9, HOLDS), ((0, 3), 1.0, PART), ((0, 0), 2.1, NOT), ((3, 3), 0.5, NOT)],
)
def test_a_gain_is_the_same_only_within_the_margin(change, half, verdict):
    rows = [
        {
            **cell._asdict(),
            "drafts": drafts,
            **{k: v for under in drafting.UNDER for k, v in around(" ".join(under), -5).items()},
            **around("change", change[cell.batch > 1], half),
            "seeds": 8,
        }
        for cell in CELLS
        for drafts in drafting.RULES
    ]
    claim = drafting.QUESTION.say(EVIDENCE, {"drafts": pd.DataFrame(rows)})
    assert claim.verdict == verdict


def test_the_change_of_a_gain_is_in_points():
    latency = one_cell(0.5, 0.5, 0.9, noise=1e-4)
    latency[fixed.JSQ, fixed.LP_SRPT, fixed.PRICED] *= 0.95
    value, low, high = drafting.changed(latency, fixed.PRICED)
    assert value == pytest.approx(-4.5, abs=0.1)
    assert -4.6 < low < value < high < -4.4


def work_rows(fcfs: float, within: tuple[float, float]) -> dict[str, pd.DataFrame]:
    """Return what routers gain over jsq under FCFS, and under LP-SRPT by batch size."""
    rows = [
        {
            **cell._asdict(),
            "predictor": predictor,
            "order": order,
            **{
                k: v
                for router in work.INFORMED
                for k, v in around(
                    router, fcfs if order == fixed.FCFS else within[cell.batch > 1]
                ).items()
            },
            "seeds": 8,
        }
        for cell in CELLS
        for predictor in work.PREDICTORS
        for order in work.ORDERS
    ]
    return {"work": pd.DataFrame(rows)}


@pytest.mark.parametrize(
    ("fcfs", "within", "verdict"),
    [
        (-10, (-0.5, 5), HOLDS),
        (-10, (-0.5, -5), PART),
        (-10, (-5, -5), NOT),
        (-10, (-1.5, -1.5), NOT),
        (5, (-0.5, -0.5), NOT),
    ],
)
def test_predicted_lengths_must_stop_paying_under_an_order_by_size(fcfs, within, verdict):
    claim = work.QUESTION.say(EVIDENCE, work_rows(fcfs, within))
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("two", "others", "verdict"), [(0.5, 0.5, HOLDS), (0.5, 1.5, PART), (3, 3, NOT)]
)
def test_old_signals_must_cost_less_than_the_margin(two, others, verdict):
    rows = [
        {
            **cell._asdict(),
            "router": router,
            "order": order,
            "age_ms": age,
            "seeds": 8,
            **around(
                "stale",
                (two if router in stale.ROUTERS[:2] else others) if age == stale.JUDGED_MS else 9,
            ),
            **around("random", -20),
        }
        for cell in CELLS
        for router in stale.ROUTERS
        for order in stale.ORDERS
        for age in stale.AGES_MS
    ]
    claim = stale.QUESTION.say(EVIDENCE, {"stale": pd.DataFrame(rows)})
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("small", "large", "verdict"), [(0.5, -5, HOLDS), (0.5, 1.5, PART), (3, 3, NOT)]
)
def test_committing_early_must_cost_less_than_the_margin(small, large, verdict):
    rows = [
        {
            **cell._asdict(),
            "order": order,
            "seeds": 8,
            **{
                k: v
                for router in central.ROUTERS
                for k, v in around(router, small if cell.batch == 1 else large).items()
            },
        }
        for cell in CELLS
        for order in central.ORDERS
    ]
    claim = central.QUESTION.say(EVIDENCE, {"central": pd.DataFrame(rows)})
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("random", "jsq", "verdict"),
    [
        ((-10, -10), 0.5, HOLDS),
        ((-10, -10), 3, NOT),
        ((-10, 10), 0.5, PART),
        ((-0.5, 10), 0.5, NOT),
    ],
)
def test_guardrails_must_help_random_routing_and_spare_jsq(random, jsq, verdict):
    rows = [
        {
            **cell._asdict(),
            "seeds": 8,
            **{k: v for router in guards.ROUTERS for k, v in around(router, jsq).items()},
            **around(fixed.RANDOM, random[cell.batch > 1], 0.4),
        }
        for cell in CELLS
    ]
    claim = guards.QUESTION.say(EVIDENCE, {"guardrails": pd.DataFrame(rows)})
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("aware", "weighted", "verdict"),
    [((-5, -5), -5, HOLDS), ((-5, 0.5), -5, PART), ((0.5, 0.5), 0.5, NOT), ((5, 5), 5, NOT)],
)
def test_routers_that_look_for_prefixes_must_be_faster_where_there_are_caches(
    aware, weighted, verdict
):
    rows = [
        {
            "caches": caches,
            "load": load,
            "order": order,
            "seeds": 8,
            **{k: v for router in prefixes.ROUTERS for k, v in around(router, -9).items()},
            **{f"{router} hits": 0.5 for router in (fixed.JSQ, *prefixes.ROUTERS)},
            **(
                around(prefixes.CACHE_AWARE, aware[load > 0.5]) | around("weighted", weighted)
                if caches == "cached"
                else {}
            ),
        }
        for caches in prefixes.CACHES
        for load in (0.5, 0.9)
        for order in prefixes.ORDERS
    ]
    claim = prefixes.QUESTION.say(EVIDENCE, {"prefixes": pd.DataFrame(rows)})
    assert claim.verdict == verdict


def test_sessions_repeat_prompts_only_within_a_session_and_its_system_prompt():
    made = prefixes.sessions(load_trace("reference-confidence"))
    assert len(made) == prefixes.REQUESTS
    assert 0.5 < made.provenance.notes["sessions"]["reusable_share"] < 0.9
    with pytest.raises(FormatError, match="must hold draft_prob"):
        prefixes.sessions(load_trace("reference"))


def test_azure_lengths_get_recorded_acceptances_that_repeat():
    recorded, azure = load_trace("reference-confidence"), load_trace(lengths.SOURCE)
    made = lengths.with_azure_lengths(recorded)
    assert len(made) == lengths.REQUESTS
    assert set(made.request_id) <= set(azure.request_id)
    known = [
        recorded.accept_prob[a:b]
        for a, b in np.lib.stride_tricks.sliding_window_view(recorded.output_offsets, 2)
    ]
    for row in range(0, len(made), 50):
        own = made.accept_prob[made.output_offsets[row] : made.output_offsets[row + 1]]
        assert any(np.array_equal(own, np.resize(one, len(own))) for one in known)


def test_azure_lengths_need_acceptances_by_position():
    with pytest.raises(FormatError, match="must hold draft_prob"):
        lengths.with_azure_lengths(load_trace("reference"))


def test_batch_sizes_outside_the_profile_are_left_out():
    profile = load_profile("llama-7b-h200")
    few = replace(profile.costs, rounds={1: profile.costs.rounds[1]})
    inputs = Inputs("t", "p", load_trace("reference-confidence"), replace(profile, costs=few))
    assert fixed.batches(inputs) == [1]


RECORDED = ("azure", "mooncake")


def save_some_arrivals(path: Path, name: str) -> Path:
    """Write 60 recorded arrivals, whose prompts have hashes if they are Mooncake's."""
    rng = np.random.default_rng(3)
    prompts = rng.integers(300, 500, 60)
    hashes = [[n % 7, 100 + n] for n in range(60)] if name == "mooncake" else None
    arrivals = ArrivalTrace(
        np.cumsum(rng.integers(1, 10**9, 60)),
        prompts,
        rng.integers(1, 50, 60),
        f"some of {name}",
        None if hashes is None else Prefixes.of(hashes, 128),
    )
    save_arrivals(arrivals, path)
    return path


def test_a_report_without_recorded_arrivals_says_so():
    effects = decisions.effects(one_cell(0.5, 0.8, 0.9))
    rows = pd.DataFrame([{"change": "gaps with CV 3"} | CELLS[0]._asdict() | effects])
    for arrivals, said in (
        ({}, "no file was given"),
        ({"azure": "a.parquet"}, "A run with recorded"),
    ):
        inputs = replace(EVIDENCE.inputs, arrivals=arrivals)
        section = elsewhere.QUESTION.say(replace(EVIDENCE, inputs=inputs), {"elsewhere": rows})
        assert any(said in paragraph for paragraph in section.paragraphs)


def test_other_reports_refuse_recorded_arrivals():
    with pytest.raises(ValueError, match="the report on alise does not use arrivals"):
        ALISE.with_arrivals(["azure.parquet"])


@too_slow_in_python
def test_the_whole_report_is_made_at_a_tiny_size(tmp_path, monkeypatch):
    for module in (fixed, matrix):
        monkeypatch.setattr(module, "SERVERS", (2, 3))
    monkeypatch.setattr(elsewhere, "SERVERS", 2)
    monkeypatch.setattr(fixed, "EACH", 8)
    monkeypatch.setattr(fixed, "WARMUP", 2)
    monkeypatch.setattr(stale, "AGES_MS", (0.0, 10.0, stale.JUDGED_MS))  # less than a run takes
    monkeypatch.setattr(lengths, "REQUESTS", 60)
    monkeypatch.setattr(prefixes, "REQUESTS", 60)
    monkeypatch.setattr(prefixes, "SERVERS", 2)
    out = tmp_path / "routing"
    files = [str(save_some_arrivals(tmp_path / f"{name}.parquet", name)) for name in RECORDED]
    paper = replace(ROUTING, full=TINY).with_arrivals(files)
    assert reproduce(out, paper=paper, workers=1) == []
    text = (out / "claims.md").read_text(encoding="utf-8")
    verdicts = re.findall(r"\*\*Verdict: (holds|holds in part|does not hold here)\.\*\*", text)
    assert len(verdicts) == len(QUESTIONS) - 1  # the last one has none
    assert len(list((out / "figures").glob("*.png"))) == 6
    assert not re.search(r"\bnan\b|\| *None *\|", text)
    found = pd.read_csv(out / "tables" / "stale.csv")
    assert set(found["servers"]) == {2, 3}
    fresh = found[found["age_ms"] == 0]
    assert (fresh["stale"].abs() < 1e-9).all()
