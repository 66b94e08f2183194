"""What a request says of its own rounds, and remembers."""

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
def test_the_first_round_at_which_something_happens_is_foreseen_and_remembered(rounds):
    for first in range(1, rounds + 1):
        request, asked = request_of(rounds), []

        def happens(job, first=first, asked=asked):
            asked.append((job.rounds, job.tokens, job.accepted))
            return job.rounds >= first

        assert request.foresee("it", happens) == request.foresee("it", happens) == first
        accepted = np.cumsum([0, *(k % 3 for k in range(rounds))]).tolist()
        assert asked == [(k, accepted[k] + k, accepted[k]) for k in range(1, first + 1)]
        assert request.foresee("never", lambda job: False) == NEVER
        assert request.rounds == 0  # it has not moved itself


def test_what_will_be_of_each_round_is_remembered_by_prediction():
    request, asked = request_of(4), []

    def value(job):
        asked.append(job.rounds)
        return job.predicted_tokens - job.tokens

    assert request.ahead("left", value).tolist() == [40, 39, 37, 34]
    assert request.ahead("left", value).tolist() == [40, 39, 37, 34]
    assert asked == [0, 1, 2, 3]
    request.predicted_tokens = 50
    assert request.ahead("left", value).tolist() == [50, 49, 47, 44]
