"""Prepared scenarios: shared parts are made once, and a run equals the engine's on its inputs."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from lapsd import PreparedScenario, Scenario, policy_context, run, simulate
from lapsd.policies import FCFS, KernelGittins, KernelGittinsOracle, LapsSD
from lapsd.sim.experiment.prepared_scenario import SPLIT_FIELDS, Inputs, Split
from lapsd.traces import (
    ArrivalTrace,
    draw_workload,
    load_trace,
    save_arrivals,
    save_profile,
    save_trace,
)
from tests.sim.experiment.test_comparison import PROFILE, TRACE


def test_run_equals_simulate_on_the_same_inputs():
    prepared = PreparedScenario.of(
        TRACE, PROFILE, requests=20, load=0.7, length_predictor="noisy:0.4", kv_slots=2
    )
    scenario, split = prepared.scenario, prepared.split
    workload = draw_workload(
        split.test,
        requests=20,
        seed=3,
        arrivals=scenario.arrival_process(),
        predictor=scenario.predictor,
        mean_size_ns=split.share_ns,
    )
    wanted = simulate(
        workload, LapsSD(), context=policy_context(split.train), capacity=scenario.capacity
    )
    assert np.array_equal(run(prepared, LapsSD(), 3).finish_ns, wanted.finish_ns)
    assert not np.array_equal(run(prepared, LapsSD(), 4).finish_ns, wanted.finish_ns)


def test_policies_share_the_workload_of_a_seed():
    prepared = PreparedScenario.of(TRACE, PROFILE)
    first = prepared.workload(0)
    assert prepared.workload(0) is first
    assert prepared.workload(1) is not first
    assert np.array_equal(prepared.workload(0).arrival_ns, first.arrival_ns)


def test_scenarios_that_split_alike_share_the_split():
    settings = [
        Scenario(requests=5),
        Scenario(requests=9, load=0.5, evict="recompute"),
        Scenario(swap_scale=2.0),
    ]
    inputs = Inputs.load(settings)
    first, second, other = (inputs.prepared(scenario) for scenario in settings)
    assert first.split is second.split
    assert first.split is not other.split
    assert pickle.loads(pickle.dumps(inputs)).prepared(settings[0]).context == first.context


class Reads:
    """A scenario that notes which of its fields are read."""

    def __init__(self, scenario):
        self.scenario, self.fields = scenario, set()

    def __getattr__(self, name):
        self.fields.add(name)
        return getattr(self.scenario, name)


def test_the_key_of_shared_splits_is_every_field_that_a_split_reads():
    """A field that is read but not in the key would give a scenario the split of another one."""
    plain, mixed = Reads(Scenario()), Reads(Scenario(dataset="toy=1"))
    trace = load_trace("reference")
    replayed = Reads(Scenario(draft_tokens=2))
    for reads, of in ((plain, TRACE), (mixed, TRACE), (replayed, trace)):
        Split.of(of, PROFILE, reads)
    read = plain.fields | mixed.fields | replayed.fields
    assert read | {"trace", "profile"} == set(SPLIT_FIELDS)


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ({"dataset": "poems"}, "dataset 'poems': the trace holds toy"),
        ({"swap": "pigeon"}, "swap 'pigeon': the ways that the profile has"),
        ({"batch": 64}, "batch size 64: the profile covers"),
        ({"draft_tokens": 2}, "draft"),
        ({"arrivals": "nowhere.parquet"}, "nowhere.parquet"),
    ],
)
def test_files_that_lack_what_a_scenario_needs_are_refused(scenario, message):
    with pytest.raises(ValueError, match=message):
        PreparedScenario.of(TRACE, PROFILE, **scenario)


def test_train_and_test_half_do_not_overlap():
    prepared = PreparedScenario.of(TRACE, PROFILE, split_seed=3)
    train, test = TRACE.split(3)
    assert list(prepared.split.test.trace.request_id) == list(test.request_id)
    assert len(prepared.context.past_sizes_ns) == len(train)
    assert not set(train.request_id) & set(test.request_id)
    assert (
        run(prepared, FCFS(), 0).rounds
        == prepared.split.test.trace.rounds[prepared.workload(0).rows].sum()
    )


def test_the_history_has_prediction_errors_of_its_own():
    known, guessed = (
        PreparedScenario.of(TRACE, PROFILE, length_predictor=p).context.history
        for p in ("oracle", "noisy:0.5")
    )
    assert (
        known.predicted_tokens.tolist()
        == known.tokens.tolist()
        == TRACE.split()[0].output_tokens.tolist()
    )
    assert np.log(guessed.predicted_tokens / guessed.tokens).std() == pytest.approx(0.5, rel=0.5)
    trace = TRACE.split()[0]
    for row in range(len(trace)):
        accepted = trace.accepted[trace.rounds_of(row)]
        half = len(accepted) // 2
        assert known.early_tokens[row] == accepted[:half].sum() + half
        assert known.rounds[row] == len(accepted)


def test_only_clairvoyant_policies_get_the_test_half_as_history():
    prepared = PreparedScenario.of(TRACE, PROFILE, length_predictor="noisy:0.5")
    known, ceiling = (
        run(prepared, policy, 0).policy.history
        for policy in (KernelGittins(), KernelGittinsOracle())
    )
    assert known is prepared.context.history
    assert ceiling.tokens.tolist() == prepared.split.test.trace.output_tokens.tolist()


@pytest.mark.parametrize(
    ("scenario", "moves"),
    [
        ({}, True),
        ({"kv_slots": "unlimited"}, False),
        ({"batch": 2}, False),
        ({"batch": 2, "kv_slots": 2}, True),
    ],
)
def test_policies_know_the_cost_of_kv_transfers_where_switches_need_them(scenario, moves):
    terms = PROFILE.costs.rounds[1]
    profile = replace(PROFILE, costs=replace(PROFILE.costs, rounds={1: terms, 2: terms}))
    prepared = PreparedScenario.of(TRACE, profile, **scenario)
    context, costs = prepared.split.train.median_context, PROFILE.costs
    wanted = (costs.swap_out(context), costs.swap_in(context)) if moves else (0, 0)
    assert (prepared.context.swap_out_ns, prepared.context.swap_in_ns) == wanted
    assert prepared.context.batch_slots == scenario.get("batch", 1)
    recomputed = PreparedScenario.of(TRACE, profile, **scenario, evict="recompute").context
    assert (recomputed.swap_out_ns, recomputed.swap_in_ns) == (
        0,
        costs.prefill(context - 1) if moves else 0,
    )


def test_loaded_files_and_named_files_give_the_same_results(tmp_path):
    arrivals = ArrivalTrace(
        np.array([0, 5, 30, 31, 90]) * 10**8, np.arange(5), np.arange(1, 6), "a test's arrivals"
    )
    for what, save, name in (
        (arrivals, save_arrivals, "a.parquet"),
        (TRACE, save_trace, "t.parquet"),
        (PROFILE, save_profile, "p.json"),
    ):
        save(what, tmp_path / name)
    loaded = PreparedScenario.of(TRACE, PROFILE, arrivals=arrivals, requests=12)
    named = PreparedScenario.of(
        tmp_path / "t.parquet",
        str(tmp_path / "p.json"),
        arrivals=tmp_path / "a.parquet",
        requests=12,
    )
    assert np.array_equal(run(loaded, LapsSD(), 1).finish_ns, run(named, LapsSD(), 1).finish_ns)
    assert "arrivals as in a test's arrivals" in loaded.caption(2)
    assert loaded.caption(2) == named.caption(2)
    with pytest.raises(ValueError, match=r"cv=3\.0: does not apply to recorded arrivals"):
        PreparedScenario.of(TRACE, PROFILE, arrivals=arrivals, cv=3)
