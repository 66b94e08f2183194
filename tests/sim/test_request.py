"""Requests find properties of their own rounds, and cache them."""

import numpy as np
import pytest

from lapsd.policies import NEVER
from lapsd.sim.engine.recorded import recorded_rows
from lapsd.sim.engine.request import Request
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import row, workload


def request_of(rounds: int) -> Request:
    trace = trace_from_rounds([row("r", 3, [k % 3 for k in range(rounds)], n=2)])
    work = workload(price(trace, Profile.constant(draft_ms=1, verify_ms=8)), [0], [40])
    return Request(0, 0, 40, recorded_rows(work)[0], 0)


@pytest.mark.parametrize("rounds", [1, 2, 5, 6])
def test_the_first_round_that_satisfies_a_condition_is_found_and_cached(rounds):
    for first in range(1, rounds + 1):
        request, calls = request_of(rounds), []

        def happens(job, first=first, calls=calls):
            calls.append((job.rounds, job.tokens, job.accepted))
            return job.rounds >= first

        assert request.predict_round("it", happens) == request.predict_round("it", happens) == first
        accepted = np.cumsum([0, *(k % 3 for k in range(rounds))]).tolist()
        assert calls == [(k, accepted[k] + k, accepted[k]) for k in range(1, first + 1)]
        assert request.predict_round("never", lambda job: False) == NEVER
        assert request.rounds == 0  # the request has not changed


def test_values_of_each_round_are_cached_by_predicted_length():
    request, calls = request_of(4), []

    def value(job):
        calls.append(job.rounds)
        return job.predicted_tokens - job.tokens

    assert request.ahead("left", value).tolist() == [40, 39, 37, 34]
    assert request.ahead("left", value).tolist() == [40, 39, 37, 34]
    assert calls == [0, 1, 2, 3]
    request.predicted_tokens = 50
    assert request.ahead("left", value).tolist() == [50, 49, 47, 44]
