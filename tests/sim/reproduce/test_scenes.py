"""The runs that single-run figures show fit the rules that chose them."""

import numpy as np

from policies import LapsSD
from sim.engine import simulate
from sim.experiment.stability import stable_rounds
from sim.experiment.stage import Stage
from sim.reproduce import scenes
from sim.reproduce.plan import Inputs
from traces import load_profile, load_trace

INPUTS = Inputs("reference", "reference", load_trace("reference"), load_profile("reference"))


def test_three_requests_meet_and_policies_differ():
    meeting = scenes.three_requests(INPUTS)
    assert list(meeting.timelines) == ["fcfs", "las", "lp-sjf", "laps-sd"]
    ends = {name: max(s.end_ns for s in t.spans) for name, t in meeting.timelines.items()}
    assert len(meeting.arrival_ns) == 3
    assert min(ends.values()) > meeting.arrival_ns[-1]
    assert meeting.timelines["laps-sd"].preemptions


def test_the_queues_shown_are_those_of_laps_sd_itself():
    crowd = scenes.full_queues(INPUTS, 4)
    _, outlook, _ = Stage.of(INPUTS.trace, INPUTS.profile).halves
    plain = simulate(crowd.workload, LapsSD(), outlook=outlook)
    assert np.array_equal(plain.finish_ns, crowd.run.finish_ns)
    assert {queue for _, _, queue, _ in crowd.log} == {1, 2, 3, 4}
    assert all(a <= b for (a, *_), (b, *_) in zip(crowd.log, crowd.log[1:], strict=False))


def test_three_curves_of_different_stability():
    rows = scenes.three_of_different_stability(INPUTS.trace)
    found = stable_rounds(INPUTS.trace)[rows]
    assert len(set(rows)) == 3
    assert found[0] < found[1] < found[2]
    assert scenes.three_of_different_stability(INPUTS.trace.take(np.arange(2))) == []
