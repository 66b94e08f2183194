"""Past requests as estimates of similar requests."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lapsd.policies import RequestHistory
from lapsd.policies.gittins import Gittins, inverse_index
from lapsd.policies.remaining_rounds import MIN_LOG_WEIGHT, exponentials
from lapsd.policies.request_history import MAX_NEIGHBOURS, MIN_HISTORY, UNINFORMATIVE, log_kernel

RNG = np.random.default_rng(7)


def history_of(tokens, rounds=None, predicted=None, early=None) -> RequestHistory:
    """Return a history of requests of these lengths; by default 2 tokens per round and right
    predictions.
    """
    tokens = np.array(tokens, dtype=np.int64)
    rounds = np.maximum(1, tokens // 2) if rounds is None else np.array(rounds, dtype=np.int64)
    early = (
        np.maximum(rounds // 2, tokens * (rounds // 2) // rounds)
        if early is None
        else np.array(early)
    )
    return RequestHistory(
        tokens if predicted is None else np.array(predicted), tokens, rounds, early
    )


def lognormal(count: int) -> np.ndarray:
    return np.maximum(2, np.rint(np.exp(RNG.normal(5, 1, count)))).astype(np.int64)


@pytest.mark.parametrize(
    ("predict", "least", "most"),
    [
        (lambda logs: logs, 0.0, 0.0),
        (lambda logs: logs + 0.5 * RNG.standard_normal(len(logs)), 0.1, 0.4),
        (lambda logs: 10 - 2 * logs + RNG.standard_normal(len(logs)), 0.2, 1.0),
        (lambda logs: 4 + RNG.standard_normal(len(logs)), 0.9, math.inf),
    ],
    ids=["true", "noisy", "reversed", "random"],
)
def test_the_bandwidth_over_predictions_grows_with_their_error(predict, least, most):
    tokens = lognormal(2_000)
    predicted = np.maximum(1, np.rint(np.exp(predict(np.log(tokens))))).astype(np.int64)
    assert least <= history_of(tokens, predicted=predicted).bandwidths.prediction <= most


def test_the_bandwidth_over_paces_is_small_if_paces_last():
    """Fast requests are longer and stay fast."""
    rounds = RNG.integers(20, 200, 1_000)
    tokens = rounds + np.rint(rounds * rounds / 50).astype(np.int64)
    assert history_of(tokens, rounds, predicted=[7] * 1_000).bandwidths.pace < 0.1


def test_within_each_half_of_a_past_request_tokens_come_evenly():
    history = history_of([40] * 3, [8] * 3, early=[10] * 3, predicted=[7] * 3)
    _, rounds, tokens = history._snapshots(step=1)
    assert (rounds.tolist(), tokens.tolist()) == (
        [2] * 3 + [4] * 3 + [6] * 3,
        [5] * 3 + [10] * 3 + [25] * 3,
    )


def test_the_variance_of_paces_is_estimated_from_the_halves_of_requests():
    """The log variance is 0.2 for each round, and 0.02 more for each half of a request."""
    rounds = np.maximum(4, np.rint(np.exp(RNG.normal(3.7, 1, 8_000)))).astype(np.int64)
    half = rounds // 2
    paces = [
        np.exp(2 + np.sqrt(0.2 / count + 0.02) * RNG.standard_normal(len(rounds)))
        for count in (half, rounds - half)
    ]
    early = np.rint(paces[0] * half).astype(np.int64)
    tokens = early + np.rint(paces[1] * (rounds - half)).astype(np.int64)
    variance = history_of(tokens, rounds, early=early).pace_variance
    assert variance.per_round == pytest.approx(0.2, rel=0.2)
    assert variance.long_run == pytest.approx(0.02, rel=0.25)


def test_one_odd_request_does_not_change_the_variance_of_paces():
    tokens, rounds = lognormal(200), RNG.integers(10, 100, 200)
    early = tokens // 2
    odd = early.copy()
    odd[3] = 1
    before, after = (
        history_of(tokens + rounds, rounds, early=first + rounds // 2).pace_variance
        for first in (early, odd)
    )
    assert after.per_round == pytest.approx(before.per_round, rel=0.05)


def test_only_past_requests_longer_than_the_emitted_tokens_count():
    history = history_of([10] * MIN_HISTORY + [20, 40], predicted=[30] * (MIN_HISTORY + 2))
    remaining, weight = history.remaining_rounds(30, 10, 5)
    assert remaining.tolist() == [5, 15]  # rounds of 2 tokens
    assert weight.tolist() == [1, 1]
    assert history.remaining_rounds(30, 20, 10)[0].tolist() == [10]
    assert not len(history.remaining_rounds(30, 40, 20)[0])


def test_a_prediction_gives_weight_to_past_requests_of_that_length():
    tokens = lognormal(300)
    predicted = np.maximum(1, np.rint(tokens * np.exp(0.3 * RNG.standard_normal(300)))).astype(
        np.int64
    )
    history = history_of(tokens, predicted=predicted)
    for length in (40, 150, 600):
        rounds, weight = history.remaining_rounds(length, 0, 0)
        assert float((rounds * weight).sum() / weight.sum()) * 2 == pytest.approx(length, rel=0.4)


def test_the_pace_so_far_gives_weight_to_past_requests_of_that_pace():
    slow, fast = [(100, 100)] * 20, [(100, 25)] * 20
    tokens, rounds = zip(*slow, *fast, strict=True)
    history = history_of(tokens, rounds, predicted=[100] * 40)
    before, after = history.remaining_rounds(100, 0, 0), history.remaining_rounds(100, 40, 10)
    assert set(before[1].tolist()) == {1.0}
    means = [
        float((remaining * weight).sum() / weight.sum()) for remaining, weight in (before, after)
    ]
    assert means[0] == pytest.approx(62.5)
    assert means[1] == pytest.approx(15, rel=0.01)  # 60 tokens at 4 per round


def test_a_high_pace_points_to_long_requests_if_past_long_requests_were_fast():
    """Long past requests accepted more, so a request with high acceptance counts as long, although
    all predictions are equal.
    """
    tokens, rounds = zip(*[(50, 50)] * 20, *[(400, 100)] * 20, strict=True)
    history = history_of(tokens, rounds, predicted=[100] * 40)
    remaining, weight = history.remaining_rounds(100, 40, 10)
    assert float((remaining * weight).sum() / weight.sum()) == pytest.approx(90, rel=0.01)


def test_a_history_of_too_few_requests_is_not_used():
    assert not len(RequestHistory().remaining_rounds(30, 0, 0)[0])
    assert not len(history_of([10] * (MIN_HISTORY - 1)).remaining_rounds(30, 0, 0)[0])
    assert len(history_of([10] * MIN_HISTORY).remaining_rounds(30, 0, 0)[0])


def test_equal_predictions_or_lengths_give_finite_rounds_and_equal_weights():
    for history in (
        history_of(lognormal(50), predicted=[7] * 50),
        history_of([30] * 50),
        history_of([1] * 50),
    ):
        remaining, weight = history.remaining_rounds(7, 0, 0)
        assert len(remaining) == 50
        assert np.isfinite(remaining).all()
        assert set(weight.tolist()) == {1.0}


def test_of_a_long_history_an_even_sample_near_the_prediction_is_used():
    tokens = np.repeat(np.arange(1, 10_001), 10)
    history = history_of(tokens, predicted=np.minimum(tokens, 5_000))
    neighbours, *_ = history.neighbours(5_000)  # the prediction of half of the requests
    assert MAX_NEIGHBOURS * 0.9 <= len(neighbours) <= MAX_NEIGHBOURS
    assert neighbours.min() >= 4_900
    assert np.mean(neighbours) == pytest.approx(7_500, rel=0.01)
    assert history.neighbours(300)[0].max() < 400


@pytest.mark.parametrize("sd", [0.0, 0.02, 0.5, 2.0])
def test_the_sample_of_a_long_history_estimates_what_all_of_it_would(sd):
    tokens = lognormal(100_000)
    predicted = np.maximum(
        1, np.rint(tokens * np.exp(sd * RNG.standard_normal(len(tokens))))
    ).astype(np.int64)
    history = history_of(tokens, predicted=predicted)
    width = max(history.bandwidths.prediction, 0.005)
    for length in (30, 150, 900):
        rounds, weight = history.remaining_rounds(length, 20, 10)
        distance = (math.log(length) - np.log(predicted)) / width
        whole = np.where(tokens > 20, np.exp(-(distance**2) / 2), 0)
        expected = float((whole * (tokens - 20)).sum() / whole.sum()) / 2
        assert float((rounds * weight).sum() / weight.sum()) == pytest.approx(expected, rel=0.15)


def test_without_informative_predictions_and_paces_only_the_past_rounds_count():
    """The policy then equals `gittins`, in rounds."""
    history = history_of(tokens := lognormal(40), RNG.integers(1, 60, 40), predicted=[7] * 40)
    assert history.bandwidths.prediction == math.inf
    vars(history)["bandwidths"] = UNINFORMATIVE
    remaining, weight = history.remaining_rounds(7, int(tokens.max()) + 1, 20)
    assert sorted(remaining.round().tolist()) == sorted(
        (history.rounds[history.rounds > 20] - 20).tolist()
    )
    assert set(weight.tolist()) == {1.0}


def test_a_history_can_be_sampled_and_extended():
    history = history_of(range(2, 102))
    assert history.sample(5).tokens.tolist() == [2, 26, 51, 76, 101]
    assert len(history.sample(0)) == 0
    assert len(history.sample(1_000)) == 100
    more = history.sample(1).with_more([(7, 8, 4, 3)])
    assert [
        column.tolist()
        for column in (more.predicted_tokens, more.tokens, more.rounds, more.early_tokens)
    ] == [[2, 7], [2, 8], [1, 4], [0, 3]]
    assert RequestHistory().with_more([(7, 8, 4, 3)]).tokens.tolist() == [8]


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=30))
def test_the_index_of_equal_weights_equals_that_of_the_policy_gittins(sizes):
    policy = Gittins(np.array(sorted(sizes)))
    remaining = np.array(sizes, dtype=float)
    assert inverse_index(remaining, np.ones(len(remaining))) == pytest.approx(
        policy.service_per_completion(0)
    )


def test_the_inverse_index_of_two_values_by_hand():
    # half take 1, half 10: after 1 each, half are complete, 2 per completion; all of them: 5.5
    assert inverse_index(np.array([10.0, 1.0]), np.array([0.5, 0.5])) == 2
    # one of twenty takes 1, 20 per completion; all of them: 9.55 per completion, which is less
    assert inverse_index(np.array([10.0, 1.0]), np.array([0.95, 0.05])) == pytest.approx(9.55)


def test_a_history_of_equal_requests_predicts_exactly_their_rounds():
    history = history_of([20] * 16)
    with np.errstate(divide="raise", invalid="raise"):
        rounds, weight = history.remaining_rounds(20, 8, 4)
    assert set(rounds.tolist()) == {6.0}
    assert np.isfinite(weight).all()
    assert weight.min() == weight.max() > 0


def test_the_kernel_reaches_at_least_the_fourth_nearest_past_prediction():
    past = np.array([0.0, 1.0, 2.0, 3.0, 7.0])
    for width, used in ((0.0, 3.0), (2.0, 3.0), (4.0, 4.0)):  # the fourth nearest to 0 is 3 away
        assert log_kernel(np.zeros(1), past, width)[0] == pytest.approx(-(past**2) / (2 * used**2))
    # of fewer than four past predictions, the farthest
    assert log_kernel(np.zeros(1), past[:2], 0.0)[0] == pytest.approx([0, -0.5])
    assert not log_kernel(np.zeros(1), past, math.inf).any()


def test_our_exponential_function_is_that_of_the_library():
    values = -np.random.default_rng(1).uniform(0, -MIN_LOG_WEIGHT, 10_000)
    values[:2] = 0, MIN_LOG_WEIGHT
    expected = np.array([math.exp(value) for value in values])
    assert (np.abs(exponentials(values) - expected) <= 2 * np.spacing(expected)).all()
    assert exponentials(values)[0] == 1
