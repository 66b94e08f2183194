"""Tests that the example runs of figures fit the rules that selected them."""

from dataclasses import replace

import numpy as np
import pytest

from lapsd import compare
from lapsd.papers.inputs import Inputs
from lapsd.papers.laps_sd import examples
from lapsd.papers.laps_sd.paper import QUICK
from lapsd.papers.question import Evidence, Unanswerable
from lapsd.policies import LapsSD
from lapsd.sim.experiment.stability import stable_rounds
from lapsd.traces import load_profile, load_trace

EVIDENCE = Evidence(
    Inputs("reference", "reference", load_trace("reference"), load_profile("reference")), QUICK
)


def test_the_three_requests_overlap_and_differ_in_latency_under_each_policy():
    tables = examples.find_schedules(EVIDENCE)
    spans, arrival_ns = tables["schedules"], tables["schedules_requests"]["arrival_ns"]
    assert list(dict.fromkeys(spans["policy"])) == ["fcfs", "las", "lp-sjf", "laps-sd"]
    assert len(arrival_ns) == 3
    ends = (
        spans[spans["kind"] != "waiting"].groupby(["policy", "request"])["end_ns"].max().unstack()
    )
    assert (ends.max(axis=1) > arrival_ns.max()).all()
    assert (ends - arrival_ns).mean(axis=1).nunique() == 4
    resumed = spans[(spans["policy"] == "laps-sd") & (spans["kind"] == "rounds")][
        "request"
    ].value_counts()
    assert resumed.max() > 1


def test_the_logging_policy_has_the_same_run_as_laps_sd():
    tables = examples.find_queues(EVIDENCE)
    requests, turns = tables["queue_requests"], tables["queue_turns"]
    plain = compare(
        policies=[LapsSD()],
        seeds=int(requests["seed"].iloc[0]) + 1,
        requests=examples.CROWD,
        load=examples.FILLED,
        length_predictor="noisy:0.5",
    ).requests
    own = plain[(plain["policy"] == "laps-sd") & (plain["seed"] == requests["seed"].iloc[0])]
    assert own["finish_ns"].tolist() == requests["finish_ns"].tolist()
    assert own["arrival_ns"].tolist() == requests["arrival_ns"].tolist()
    assert set(turns["queue"]) == {1, 2, 3, 4}
    assert turns["ns"].is_monotonic_increasing


def test_the_three_curves_become_perceptible_at_different_rounds():
    trace = EVIDENCE.inputs.trace
    curves = examples.find_curves(EVIDENCE)["running_acceptance"]
    chosen = curves.drop_duplicates("request")
    assert chosen["stable"].is_monotonic_increasing
    assert chosen["stable"].nunique() == len(chosen) == 3
    assert chosen["stable"].tolist() == stable_rounds(trace)[chosen["request"]].tolist()
    last = curves.groupby("request", sort=False).last()
    assert last["round"].tolist() == trace.rounds[chosen["request"]].tolist()
    assert last["rate"].tolist() == pytest.approx(trace.acceptance[chosen["request"]])
    few = replace(EVIDENCE, inputs=replace(EVIDENCE.inputs, trace=trace.take(np.arange(2))))
    with pytest.raises(Unanswerable, match="fewer than three requests of 40 rounds"):
        examples.find_curves(few)
