"""What past requests say of one like them."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lapsd.policies import RequestHistory
from lapsd.policies.gittins import Gittins, inverse_index
from lapsd.policies.request_history import EXACT, FEW, NOTHING, log_likely

RNG = np.random.default_rng(7)


def history_of(tokens, rounds=None, predicted=None, early=None) -> RequestHistory:
    """Requests of so many tokens, two a round unless said otherwise, foreseen unless said
    otherwise.
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
    ids=["the truth", "noisy", "upside down", "of no matter"],
)
def test_how_alike_predictions_must_be_is_learnt_from_the_past(predict, least, most):
    tokens = lognormal(2_000)
    predicted = np.maximum(1, np.rint(np.exp(predict(np.log(tokens))))).astype(np.int64)
    assert least <= history_of(tokens, predicted=predicted).likeness.width <= most


def test_how_much_a_pace_tells_is_learnt_from_the_past():
    """Much if fast requests are longer and stay fast."""
    rounds = RNG.integers(20, 200, 1_000)
    tokens = rounds + np.rint(rounds * rounds / 50).astype(np.int64)
    assert history_of(tokens, rounds, predicted=[7] * 1_000).likeness.doubt < 0.1


def test_between_the_halves_of_a_past_request_tokens_are_taken_to_come_evenly():
    history = history_of([40] * 3, [8] * 3, early=[10] * 3, predicted=[7] * 3)
    _, rounds, tokens = history._on_the_way(step=1)
    assert (rounds.tolist(), tokens.tolist()) == (
        [2] * 3 + [4] * 3 + [6] * 3,
        [5] * 3 + [10] * 3 + [25] * 3,
    )


def test_the_pace_of_requests_is_learnt_from_their_halves():
    """Rounds emit tokens with a log variance of 0.2 each; every request's halves differ by another
    0.02 each.
    """
    rounds = np.maximum(4, np.rint(np.exp(RNG.normal(3.7, 1, 8_000)))).astype(np.int64)
    half = rounds // 2
    paces = [
        np.exp(2 + np.sqrt(0.2 / some + 0.02) * RNG.standard_normal(len(rounds)))
        for some in (half, rounds - half)
    ]
    early = np.rint(paces[0] * half).astype(np.int64)
    tokens = early + np.rint(paces[1] * (rounds - half)).astype(np.int64)
    pace = history_of(tokens, rounds, early=early).pace
    assert pace.round == pytest.approx(0.2, rel=0.2)
    assert pace.stretch == pytest.approx(0.02, rel=0.25)


def test_one_odd_request_does_not_move_the_pace():
    tokens, rounds = lognormal(200), RNG.integers(10, 100, 200)
    early = tokens // 2
    odd = early.copy()
    odd[3] = 1
    before, after = (
        history_of(tokens + rounds, rounds, early=some + rounds // 2).pace for some in (early, odd)
    )
    assert after.round == pytest.approx(before.round, rel=0.05)


def test_only_those_longer_than_what_was_emitted_count():
    history = history_of([10] * FEW + [20, 40], predicted=[30] * (FEW + 2))
    left, weight = history.left(30, 10, 5)
    assert left.tolist() == [5, 15]  # rounds, of two tokens each
    assert weight.tolist() == [1, 1]
    assert history.left(30, 20, 10)[0].tolist() == [10]
    assert not len(history.left(30, 40, 20)[0])


def test_a_prediction_favours_who_was_that_long():
    tokens = lognormal(300)
    predicted = np.maximum(1, np.rint(tokens * np.exp(0.3 * RNG.standard_normal(300)))).astype(
        np.int64
    )
    history = history_of(tokens, predicted=predicted)
    for some in (40, 150, 600):
        left, weight = history.left(some, 0, 0)
        assert float((left * weight).sum() / weight.sum()) * 2 == pytest.approx(some, rel=0.4)


def test_the_acceptance_seen_favours_who_accepted_as_much():
    slow, fast = [(100, 100)] * 20, [(100, 25)] * 20
    tokens, rounds = zip(*slow, *fast, strict=True)
    history = history_of(tokens, rounds, predicted=[100] * 40)
    before, after = history.left(100, 0, 0), history.left(100, 40, 10)
    assert set(before[1].tolist()) == {1.0}
    means = [float((left * weight).sum() / weight.sum()) for left, weight in (before, after)]
    assert means[0] == pytest.approx(62.5)
    assert means[1] == pytest.approx(15, rel=0.01)  # 60 tokens of four a round


def test_length_and_acceptance_are_weighed_together():
    """Long ones accept more: who accepts much is likely to be a long one, whatever the prediction
    says.
    """
    tokens, rounds = zip(*[(50, 50)] * 20, *[(400, 100)] * 20, strict=True)
    history = history_of(tokens, rounds, predicted=[100] * 40)
    left, weight = history.left(100, 40, 10)
    assert float((left * weight).sum() / weight.sum()) == pytest.approx(90, rel=0.01)


def test_too_few_requests_tell_nothing():
    assert not len(RequestHistory().left(30, 0, 0)[0])
    assert not len(history_of([10] * (FEW - 1)).left(30, 0, 0)[0])
    assert len(history_of([10] * FEW).left(30, 0, 0)[0])


def test_equal_predictions_and_equal_lengths_do_no_harm():
    for history in (
        history_of(lognormal(50), predicted=[7] * 50),
        history_of([30] * 50),
        history_of([1] * 50),
    ):
        left, weight = history.left(7, 0, 0)
        assert len(left) == 50
        assert np.isfinite(left).all()
        assert set(weight.tolist()) == {1.0}


def test_of_a_long_past_those_near_are_taken_evenly():
    tokens = np.repeat(np.arange(1, 10_001), 10)
    history = history_of(tokens, predicted=np.minimum(tokens, 5_000))
    kin = history.kin(5_000)  # of half of them this is said
    assert EXACT * 0.9 <= len(kin.tokens) <= EXACT
    assert kin.tokens.min() >= 4_900
    assert np.mean(kin.tokens) == pytest.approx(7_500, rel=0.01)
    assert history.kin(300).tokens.max() < 400


@pytest.mark.parametrize("sd", [0.0, 0.02, 0.5, 2.0])
def test_what_a_long_past_says_is_what_all_of_it_would(sd):
    tokens = lognormal(100_000)
    predicted = np.maximum(
        1, np.rint(tokens * np.exp(sd * RNG.standard_normal(len(tokens))))
    ).astype(np.int64)
    history = history_of(tokens, predicted=predicted)
    width = max(history.likeness.width, 0.005)
    for some in (30, 150, 900):
        left, weight = history.left(some, 20, 10)
        off = (math.log(some) - np.log(predicted)) / width
        whole = np.where(tokens > 20, np.exp(-(off**2) / 2), 0)
        expected = float((whole * (tokens - 20)).sum() / whole.sum()) / 2
        assert float((left * weight).sum() / weight.sum()) == pytest.approx(expected, rel=0.15)


def test_where_nothing_tells_age_in_rounds_is_all_that_is_left():
    """It is the policy `gittins` then, of rounds."""
    history = history_of(tokens := lognormal(40), RNG.integers(1, 60, 40), predicted=[7] * 40)
    assert history.likeness.width == math.inf
    vars(history)["likeness"] = NOTHING
    left, weight = history.left(7, int(tokens.max()) + 1, 20)
    assert sorted(left.round().tolist()) == sorted(
        (history.rounds[history.rounds > 20] - 20).tolist()
    )
    assert set(weight.tolist()) == {1.0}


def test_a_past_grows_and_shrinks():
    history = history_of(range(2, 102))
    assert history.some(5).tokens.tolist() == [2, 26, 51, 76, 101]
    assert len(history.some(0)) == 0
    assert len(history.some(1_000)) == 100
    more = history.some(1).with_more([(7, 8, 4, 3)])
    assert [
        column.tolist()
        for column in (more.predicted_tokens, more.tokens, more.rounds, more.early_tokens)
    ] == [[2, 7], [2, 8], [1, 4], [0, 3]]
    assert RequestHistory().with_more([(7, 8, 4, 3)]).tokens.tolist() == [8]


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=30))
def test_the_index_of_equal_weights_is_that_of_the_policy_gittins(sizes):
    policy = Gittins(tuple(sorted(sizes)))
    left = np.array(sizes, dtype=float)
    assert inverse_index(left, np.ones(len(left))) == pytest.approx(policy.service_a_completion(0))


def test_the_index_by_hand():
    # half take 1, half 10: after 1, half are done, for 1 each: 2 a completion; all take 5.5 each
    assert inverse_index(np.array([10.0, 1.0]), np.array([0.5, 0.5])) == 2
    # one in twenty takes 1: 20 a completion, so on to the end: 9.55
    assert inverse_index(np.array([10.0, 1.0]), np.array([0.95, 0.05])) == pytest.approx(9.55)


def test_a_past_of_requests_that_are_all_the_same_foretells_just_them():
    history = history_of([20] * 16)
    with np.errstate(divide="raise", invalid="raise"):
        rounds, weight = history.left(20, 8, 4)
    assert set(rounds.tolist()) == {6.0}
    assert np.isfinite(weight).all()
    assert weight.min() == weight.max() > 0


def test_a_width_reaches_the_fourth_nearest_at_least():
    history = np.array([0.0, 1.0, 2.0, 3.0, 7.0])
    for width, of in ((0.0, 3.0), (2.0, 3.0), (4.0, 4.0)):  # the fourth nearest to 0 is 3 away
        assert log_likely(np.zeros(1), history, width)[0] == pytest.approx(
            -(history**2) / (2 * of**2)
        )
    assert log_likely(np.zeros(1), history[:2], 0.0)[0] == pytest.approx(
        [0, -0.5]
    )  # or the last, of fewer
    assert not log_likely(np.zeros(1), history, math.inf).any()
