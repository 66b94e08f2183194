"""Statistics of traces made by hand, whose values are known."""

import numpy as np
import pytest

from lapsd.policies import LapsSD
from lapsd.sim.experiment.stability import stable_rounds, transition_errors
from lapsd.traces import Trace, price, trace_from_rounds
from lapsd.traces.derived.describe import (
    acceptance_by_draft_position,
    acceptance_by_output_position,
    autocorrelation,
    describe,
    within_request_sd,
)
from lapsd.traces.derived.shuffle import shuffled
from lapsd.traces.profile import Profile


def made(*accepted: list[int], n: int = 4) -> Trace:
    rows = [
        {
            "request_id": str(i),
            "dataset": "d",
            "prompt_tokens": 3,
            "output_tokens": sum(a) + len(a),
            "drafted": [n] * len(a),
            "accepted": a,
        }
        for i, a in enumerate(accepted)
    ]
    return trace_from_rounds(rows)


def test_alternating_rounds_have_negative_autocorrelation_and_runs_positive() -> None:
    assert autocorrelation(made([0, 4] * 200), 2) == pytest.approx([-1, 1], abs=0.02)
    assert autocorrelation(made([0] * 200 + [4] * 200), 1)[0] > 0.97


def test_random_rounds_have_no_autocorrelation_even_in_short_requests() -> None:
    rng = np.random.default_rng(0)
    trace = made(*[rng.integers(0, 5, size=6).tolist() for _ in range(6_000)])
    assert autocorrelation(trace, 3) == pytest.approx(
        [0, 0, 0], abs=0.02
    )  # without the correction: about -0.2


def test_acceptance_by_draft_position() -> None:
    # of four rounds, two accept the first token, two the second and one the third
    assert acceptance_by_draft_position(made([0, 0, 2, 3]))[:3] == pytest.approx([0.5, 1.0, 0.5])


def test_draft_tokens_after_the_end_of_the_output_count_as_untested() -> None:
    row = {
        "request_id": "0",
        "dataset": "d",
        "prompt_tokens": 3,
        "output_tokens": 4,
        "drafted": [4, 4],
        "accepted": [1, 2],
    }
    found = acceptance_by_draft_position(trace_from_rounds([row]))
    assert found[0] == 1.0
    assert (
        found[1] == 0.5
    )  # of the first round's second and the last round's second token, one was accepted
    assert np.isnan(found[2])


def test_acceptance_by_output_position() -> None:
    start = acceptance_by_output_position(made([4] + [0] * 99))
    assert start[0] == pytest.approx(0.99)
    assert start[1:] == pytest.approx([-0.01] * 3)


def test_standard_deviations_within_and_between_requests_are_separate() -> None:
    assert within_request_sd(made([4] * 10, [0] * 10)) == 0
    assert describe(made([4] * 10, [0] * 10)).iloc[0]["acceptance_sd"] == pytest.approx(
        np.std([0, 1], ddof=1)
    )


def test_shuffling_keeps_the_rounds_of_each_request_and_its_last_round() -> None:
    trace = made([0, 1, 2, 3, 4, 0, 1], [4, 3, 2, 1, 0, 0, 2])
    mixed = shuffled(trace, np.random.default_rng(0))
    for row in range(2):
        span = trace.rounds_of(row)
        assert sorted(mixed.accepted[span]) == sorted(trace.accepted[span])
        assert mixed.accepted[span][-1] == trace.accepted[span][-1]
    assert not np.array_equal(mixed.accepted, trace.accepted)


def test_stable_rounds_match_values_computed_by_hand() -> None:
    steady = made([2] * 8, [0, 4, 0, 4, 0, 4, 0, 4])
    # with a window of 3, the first request is stable at round 3; the running mean of the second
    # changes by 0.1 until its end
    assert stable_rounds(steady, LapsSD(gamma=3, delta=0.09)).tolist() == [3, 0]
    assert stable_rounds(steady, LapsSD(count=5)).tolist() == [5, 5]
    assert stable_rounds(made([2] * 3), LapsSD(gamma=3, delta=0.1)).tolist() == [
        0
    ]  # the request ends before round 3


def test_transition_errors_are_split_into_length_and_acceptance() -> None:
    from lapsd.policies import PolicyContext

    trace = made([4] * 5 + [0] * 15)
    priced = price(trace, Profile.constant(draft_ms=1, verify_ms=6))  # 10 ms per round
    context = PolicyContext(10_000_000, [1.0])
    found = transition_errors(priced, context, np.array([80]), LapsSD(count=5)).iloc[0]
    truth, length = 200, 40
    assert found["total"] == pytest.approx(10 * 80 / 5 / truth - 1)
    assert found["length"] == pytest.approx(80 / length - 1)
    assert found["acceptance"] == pytest.approx((length / 20) / 5 - 1)
    assert found["cost"] == pytest.approx(0)
    assert found["rate"] == pytest.approx(4 / 1 - 1)
