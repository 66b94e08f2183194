"""Stages: what settings share is made once, and one run is what the engine makes of the same
inputs.
"""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from lapsd.policies import FCFS, Alike, AlikeCeiling, LapsSD
from lapsd.sim.experiment.stage import Inputs
from lapsd.traces import ArrivalTrace, draw_workload, save_arrivals, save_profile, save_trace

from lapsd import Setting, Stage, outlook_of, run, simulate
from tests.sim.experiment.test_comparison import PROFILE, TRACE


def test_a_run_is_what_the_engine_makes_of_the_same_inputs():
    stage = Stage.of(
        TRACE, PROFILE, requests=20, load=0.7, length_predictor="noisy:0.4", kv_slots=2
    )
    setting, halves = stage.setting, stage.halves
    workload = draw_workload(
        halves.future,
        requests=20,
        seed=3,
        arrivals=setting.arrival_process(),
        predictor=setting.predictor,
        mean_size_ns=halves.share_ns,
    )
    wanted = simulate(
        workload, LapsSD(), outlook=outlook_of(halves.past), capacity=setting.capacity
    )
    assert np.array_equal(run(stage, LapsSD(), 3).finish_ns, wanted.finish_ns)
    assert not np.array_equal(run(stage, LapsSD(), 4).finish_ns, wanted.finish_ns)


def test_policies_of_a_seed_share_its_workload_and_seeds_do_not():
    stage = Stage.of(TRACE, PROFILE)
    first = stage.workload(0)
    assert stage.workload(0) is first
    assert stage.workload(1) is not first
    assert np.array_equal(stage.workload(0).arrival_ns, first.arrival_ns)


def test_the_halves_are_made_once_for_settings_that_differ_in_nothing_they_depend_on():
    settings = [
        Setting(requests=5),
        Setting(requests=9, load=0.5, evict="recompute"),
        Setting(swap_scale=2.0),
    ]
    inputs = Inputs.load(settings)
    first, second, other = (inputs.stage(setting) for setting in settings)
    assert first.halves is second.halves
    assert first.halves is not other.halves
    assert pickle.loads(pickle.dumps(inputs)).stage(settings[0]).outlook == first.outlook


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"dataset": "poems"}, "dataset 'poems': the trace holds toy"),
        ({"swap": "pigeon"}, "swap 'pigeon': the ways that the profile has"),
        ({"batch": 64}, "batch size 64: the profile covers"),
        ({"draft_tokens": 2}, "draft"),
        ({"arrivals": "nowhere.parquet"}, "nowhere.parquet"),
    ],
)
def test_what_the_files_do_not_hold_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Stage.of(TRACE, PROFILE, **setting)


def test_past_and_future_do_not_overlap():
    stage = Stage.of(TRACE, PROFILE, split_seed=3)
    past, future = TRACE.halves(3)
    assert list(stage.halves.future.trace.request_id) == list(future.request_id)
    assert len(stage.outlook.past_sizes_ns) == len(past)
    assert not set(past.request_id) & set(future.request_id)
    assert (
        run(stage, FCFS(), 0).rounds
        == stage.halves.future.trace.rounds[stage.workload(0).rows].sum()
    )


def test_the_past_was_predicted_as_the_future_is_with_errors_of_its_own():
    foreseen, guessed = (
        Stage.of(TRACE, PROFILE, length_predictor=p).outlook.past for p in ("oracle", "noisy:0.5")
    )
    assert (
        foreseen.predicted_tokens.tolist()
        == foreseen.tokens.tolist()
        == TRACE.halves()[0].output_tokens.tolist()
    )
    assert np.log(guessed.predicted_tokens / guessed.tokens).std() == pytest.approx(0.5, rel=0.5)
    trace = TRACE.halves()[0]
    for row in range(len(trace)):
        accepted = trace.accepted[trace.rounds_of(row)]
        half = len(accepted) // 2
        assert foreseen.early_tokens[row] == accepted[:half].sum() + half
        assert foreseen.rounds[row] == len(accepted)


def test_only_who_is_clairvoyant_has_the_requests_to_come_for_a_past():
    stage = Stage.of(TRACE, PROFILE, length_predictor="noisy:0.5")
    known, ceiling = (run(stage, policy, 0).policy.past for policy in (Alike(), AlikeCeiling()))
    assert known is stage.outlook.past
    assert ceiling.tokens.tolist() == stage.halves.future.trace.output_tokens.tolist()


@pytest.mark.parametrize(
    ("setting", "moves"),
    [
        ({}, True),
        ({"kv_slots": 0}, False),
        ({"batch": 2}, False),
        ({"batch": 2, "kv_slots": 2}, True),
    ],
)
def test_what_a_move_takes_is_known_where_caches_have_to_move(setting, moves):
    terms = PROFILE.costs.rounds[1]
    profile = replace(PROFILE, costs=replace(PROFILE.costs, rounds={1: terms, 2: terms}))
    stage = Stage.of(TRACE, profile, **setting)
    context, costs = stage.halves.past.median_context, PROFILE.costs
    wanted = (costs.swap_out(context), costs.swap_in(context)) if moves else (0, 0)
    assert (stage.outlook.move_out_ns, stage.outlook.move_back_ns) == wanted
    assert stage.outlook.seats == setting.get("batch", 1)
    recomputed = Stage.of(TRACE, profile, **setting, evict="recompute").outlook
    assert (recomputed.move_out_ns, recomputed.move_back_ns) == (
        0,
        costs.prefill(context - 1) if moves else 0,
    )


def test_what_is_loaded_and_what_is_named_are_run_alike(tmp_path):
    arrivals = ArrivalTrace(
        np.array([0, 5, 30, 31, 90]) * 10**8, np.arange(5), np.arange(1, 6), "a test's arrivals"
    )
    for what, save, name in (
        (arrivals, save_arrivals, "a.parquet"),
        (TRACE, save_trace, "t.parquet"),
        (PROFILE, save_profile, "p.json"),
    ):
        save(what, tmp_path / name)
    loaded = Stage.of(TRACE, PROFILE, arrivals=arrivals, requests=12)
    named = Stage.of(
        tmp_path / "t.parquet",
        str(tmp_path / "p.json"),
        arrivals=tmp_path / "a.parquet",
        requests=12,
    )
    assert np.array_equal(run(loaded, LapsSD(), 1).finish_ns, run(named, LapsSD(), 1).finish_ns)
    assert "arrivals as in a test's arrivals" in loaded.caption(2)
    assert loaded.caption(2) == named.caption(2)
    with pytest.raises(ValueError, match=r"cv 3\.0: recorded arrivals"):
        Stage.of(TRACE, PROFILE, arrivals=arrivals, cv=3)
