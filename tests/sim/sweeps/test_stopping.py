"""Sweeps that stop when differences are known well enough."""

import json

import numpy as np
import pandas as pd
import pytest

from lapsd.sim.experiment.statistics import paired_difference
from lapsd.sim.sweeps import folders, grid, resume, sweep
from lapsd.sim.sweeps.grid import Sweep
from lapsd.sim.sweeps.stopping import look
from tests.sim.sweeps.test_execution import interrupted_after

ASKED = {"policies": ["fcfs", "lp-sjf"], "requests": [3, 10], "length_predictor": "noisy:0.5"}


def synthetic(differences):
    seeds = range(len(differences))
    rows = [("fcfs", s, 10.0 + s % 3) for s in seeds]
    rows += [("other", s, 10.0 + s % 3 + d) for s, d in zip(seeds, differences, strict=True)]
    return pd.DataFrame(rows, columns=["policy", "seed", "mean_latency_s"])


def test_the_half_width_is_a_share_of_the_mean_of_the_baseline():
    differences = np.random.default_rng(0).normal(0, 2, 60)
    seen = look(synthetic(differences), "fcfs", 0.06)
    interval = paired_difference(differences, np.zeros(60))
    assert seen.half_width == pytest.approx((interval.high - interval.low) / 2 / 11.0)
    assert seen.enough == (seen.half_width <= 0.06)
    assert not look(synthetic(differences), "fcfs", 0.01).enough


def test_few_differing_seeds_are_not_enough_but_none_are():
    assert not look(synthetic([0.0] * 40 + [0.001] * 20), "fcfs", 0.5).enough
    assert look(synthetic([0.0] * 30 + [0.001] * 30), "fcfs", 0.5).enough
    assert look(synthetic([0.0] * 60), "fcfs", 0.001) == (60, 0.0, True)


def test_looks_are_at_doublings_of_the_number_of_seeds():
    assert Sweep(seeds=1000, until_ci=0.02).looks() == [50, 100, 200, 400, 800, 1000]
    assert Sweep(seeds=40, until_ci=0.02).looks() == [40]
    assert Sweep(seeds=1000).looks() == [1000]
    for chunk in Sweep(seeds=1000, until_ci=0.02).chunks():
        assert not any(
            chunk.first_seed < look <= chunk.last_seed for look in (50, 100, 200, 400, 800)
        )


def test_each_scenario_stops_alone_with_equal_seeds_for_all_configurations(tmp_path):
    records = sweep(tmp_path / "s", **ASKED, seeds=400, until_ci=0.1, workers=1)
    seeds = records.groupby("requests")["seed"].nunique()
    assert set(seeds) <= {50, 100, 200, 400}
    assert records.groupby(["requests", "policy"])["seed"].nunique().groupby(
        "requests"
    ).nunique().tolist() == [1, 1]
    looks = json.loads((tmp_path / "s" / folders.LOOKS).read_text())
    for entry in looks:
        assert entry["seeds"] == seeds[entry["requests"]]
        assert entry["stopped"] == (entry["half_width"] <= 0.1)
        # the look before was not enough
        before = records[
            (records["requests"] == entry["requests"]) & (records["seed"] < entry["seeds"] // 2)
        ]
        assert entry["seeds"] == 50 or not look(before, "fcfs", 0.1).enough
    fixed = sweep(tmp_path / "t", **ASKED, seeds=50, workers=1)
    keys = ["requests", "policy", "seed"]
    pd.testing.assert_frame_equal(
        fixed.sort_values(keys, ignore_index=True),
        records[records["seed"] < 50].sort_values(keys, ignore_index=True),
    )


def test_an_interrupted_sweep_that_stops_early_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "RUNS_PER_CHUNK", 40)
    whole = sweep(tmp_path / "whole", **ASKED, seeds=200, until_ci=0.1, workers=1)
    with interrupted_after(7, monkeypatch):
        sweep(tmp_path / "stopped", **ASKED, seeds=200, until_ci=0.1, workers=1)
    pd.testing.assert_frame_equal(resume(tmp_path / "stopped", workers=2), whole)


@pytest.mark.parametrize("share", ["x", "0", "100%", "-1%"])
def test_an_invalid_share_is_refused(share):
    with pytest.raises(ValueError, match="until_ci"):
        Sweep.from_document({"until_ci": share})
