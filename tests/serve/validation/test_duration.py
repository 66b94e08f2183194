"""How long live runs take, and how many requests there is time for."""

from dataclasses import replace

import pytest

from lapsd.serve.validation.duration import (
    REQUESTS_KEPT,
    Pace,
    expected_s,
    requests_within,
    with_requests,
)
from lapsd.serve.validation.live_runs import placeholder_profile
from tests.serve.tiny_trial import tiny_trial

COSTS = placeholder_profile(1)  # a round takes 1 ms


@pytest.fixture(scope="module")
def trial():
    return with_requests(tiny_trial(), 40)


@pytest.mark.parametrize("requests", [5, 40])
def test_live_runs_take_their_rounds_and_the_calibration_rounds_between_them(trial, requests):
    """One calibration round in five, but at least 60; each run of two policies takes as long."""
    sized = with_requests(trial, requests)
    workload = sized.prepared(0.8, COSTS).workload(0)
    rounds = int(workload.priced.trace.rounds[workload.rows].sum())
    assert (rounds / 5 > 60) == (requests == 40)
    seconds = 2 * (rounds + max(rounds / 5, 60)) / 1e3
    assert expected_s(sized, 0.8, COSTS) == pytest.approx(seconds)


def test_runs_on_the_wall_clock_also_take_idle_time(trial):
    wall = replace(trial, clock="wall")
    assert expected_s(wall, 0.1, COSTS) > 2 * expected_s(wall, 0.9, COSTS)


def test_all_requests_are_served_if_two_seeds_fit(trial):
    need = expected_s(trial, 0.5, COSTS) + expected_s(trial, 0.8, COSTS)
    for seeds, kept in ((1, 1), (2, 2), (9, 2)):
        assert requests_within(1.01 * kept * need, trial, [0.5, 0.8], seeds, COSTS) == 40
        assert requests_within(0.99 * kept * need, trial, [0.5, 0.8], seeds, COSTS) < 40


def test_fewer_requests_are_chosen_so_that_two_seeds_fit(trial):
    half = expected_s(trial, 0.8, COSTS)
    requests = requests_within(half, trial, [0.8], 5, COSTS)
    assert REQUESTS_KEPT <= requests < 40
    need = 2 * expected_s(with_requests(trial, requests), 0.8, COSTS)
    assert need <= half or requests == REQUESTS_KEPT
    assert requests_within(0, trial, [0.8], 5, COSTS) == REQUESTS_KEPT
    assert requests_within(0, with_requests(trial, 3), [0.8], 5, COSTS) == 3


def test_the_pace_of_served_workloads_corrects_the_expectation():
    pace = Pace()
    assert pace.of(10) == 10
    pace.add(10, 15)
    pace.add(10, 25)
    assert pace.of(10) == 20
