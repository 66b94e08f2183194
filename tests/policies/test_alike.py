"""Ranks by what past requests like this one still took."""

from dataclasses import replace

import numpy as np
import pytest
from lapsd.policies import (
    Alike,
    AlikeCeiling,
    AlikeOnline,
    Event,
    Outlook,
    Past,
    parse_policy,
    spec_of,
)
from lapsd.policies.moves import lead_ns
from lapsd.policies.past import FEW

from tests.policies.test_past import past_of
from tests.policies.test_policies import Job

ROUND = 10


def bound(past: Past, policy: Alike | None = None, moves: tuple[int, int] = (0, 0)) -> Alike:
    return (policy or Alike()).bind(Outlook(ROUND, [400], past, *moves))


def rank(policy: Alike, **job) -> float:
    return policy.rank(Job(**job), 0)[0]


def test_a_rank_is_the_time_that_requests_like_it_still_took():
    """Half of the past had 10 tokens and half 30, two a round: 5 rounds or 15."""
    past = past_of([10, 30] * FEW, predicted=[20] * (2 * FEW))
    gittins, mean = bound(past), bound(past, Alike(index="mean"))
    assert rank(mean, predicted_tokens=20) == pytest.approx(ROUND * 10)
    assert rank(gittins, predicted_tokens=20) == pytest.approx(
        ROUND * 10
    )  # 5 rounds each for half: 10 a completion
    old = {"predicted_tokens": 20, "rounds": 6, "tokens": 12}  # so it is one of the long ones
    assert rank(mean, **old) == rank(gittins, **old) == pytest.approx(ROUND * 9)


def test_the_index_goes_first_for_a_chance_that_the_mean_does_not_see():
    """Nine in ten are done after 5 rounds, the tenth after 500."""
    past = past_of([10] * 90 + [1_000] * 10, predicted=[100] * 100)
    gittins, mean = bound(past), bound(past, Alike(index="mean"))
    assert rank(gittins, predicted_tokens=100) == pytest.approx(ROUND * 5 / 0.9)
    assert rank(mean, predicted_tokens=100) == pytest.approx(ROUND * (0.9 * 5 + 0.1 * 500))


def test_the_trust_in_predictions_is_learnt():
    """The same prediction, of twice the median: believed where the past's were right, not where
    they told nothing.
    """
    tokens = np.unique(np.geomspace(10, 1_000, 60).astype(np.int64))
    shuffled = np.random.default_rng(1).permutation(tokens)
    right, wrong = (
        bound(past_of(tokens, predicted=some), Alike(index="mean")) for some in (tokens, shuffled)
    )
    assert rank(right, predicted_tokens=200) == pytest.approx(ROUND * 100, rel=0.1)
    assert rank(wrong, predicted_tokens=200) == pytest.approx(
        rank(wrong, predicted_tokens=20), rel=0.25
    )


def test_without_a_past_the_prediction_counts_and_then_what_was_had():
    policy = bound(Past())
    assert rank(policy, predicted_tokens=30) == ROUND * 30
    assert rank(policy, predicted_tokens=30, rounds=4, tokens=12) == ROUND * 18
    assert rank(policy, predicted_tokens=30, rounds=9, tokens=30) == ROUND * 9
    assert rank(bound(past_of([10] * FEW)), predicted_tokens=8, rounds=6, tokens=12) == ROUND * 6


def test_who_runs_is_ahead_by_what_its_stopping_costs():
    past = past_of([10, 30] * FEW, predicted=[20] * (2 * FEW))
    job = {"predicted_tokens": 20, "rounds": 2, "tokens": 4}
    for stay in (0.0, 1.0, 2.0):
        policy = bound(past, Alike(stay=stay), moves=(3, 5))
        lead = rank(policy, **job) - rank(policy, **job, running=True)
        assert lead == pytest.approx(
            stay * (2 * 3 + 5 + 3 * (3 + 5))
        )  # for two; and for three behind them
    assert rank(bound(past), **job) == rank(
        bound(past), **job, running=True
    )  # where nothing has to move


def test_the_lead_grows_with_those_who_run_beside():
    """Three behind and three beside; and a seat comes free four times as often."""
    assert lead_ns(Outlook(ROUND, [400], Past(), 3, 5, seats=4)) == 4 * (2 * 3 + 5 + 6 * (3 + 5))
    assert lead_ns(Outlook(ROUND, [400], Past(), seats=4)) == 0


def test_patience_counts_the_time_that_it_has_been_there():
    past = past_of([10, 30] * FEW, predicted=[20] * (2 * FEW))
    policy = bound(past, Alike(patience=0.25))
    first, later = (rank(policy, predicted_tokens=20, arrival_ns=at) for at in (1_000, 5_000))
    assert later - first == pytest.approx(1_000)


def test_who_is_done_joins_the_past():
    policy = bound(Past(), AlikeOnline(index="mean"))
    before = rank(policy, predicted_tokens=100)
    for _ in range(FEW):
        job = Job(history=[1] * 10, rounds=10, tokens=20, predicted_tokens=100)
        assert policy.observe(Event("completion", job, 0))
    assert not policy.observe(Event("arrival", Job(), 0))
    assert before == ROUND * 100
    assert rank(policy, predicted_tokens=100) == pytest.approx(ROUND * 10)
    done = policy.growing.past
    assert (done.rounds.tolist(), done.early_tokens.tolist()) == ([10] * FEW, [10] * FEW)


def test_a_long_past_is_taken_in_anew_only_when_it_has_grown():
    policy = bound(past_of([20] * 80), AlikeOnline())
    job = Job(history=[1] * 10, rounds=10, tokens=20)
    assert [policy.observe(Event("completion", job, 0)) for _ in range(12)] == [False] * 10 + [
        True,
        False,
    ]
    assert len(policy.growing.past) == 91


def test_each_run_learns_anew():
    policy, job = AlikeOnline(known=0), Job(history=[1] * 10, rounds=10, tokens=20)
    outlook = Outlook(ROUND, [400], past_of([20] * 80))
    first, second = policy.bind(outlook), policy.bind(outlook)
    first.observe(Event("completion", job, 0))
    assert (len(first.growing.past), len(second.growing.past)) == (1, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("alike:index=median", "alike: index=median must be gittins or mean"),
        ("alike:stay=-1", "alike: stay=-1.0 must be between 0 and 1000"),
        ("alike:patience=nan", "alike: patience=nan must be between 0 and 1e\\+06"),
        ("alike-online:known=-1", "alike-online: known=-1 must be at least 0"),
        ("alike-online:known=many", "alike-online: known=many: needs an integer"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_policy(spec)


def test_policies_of_a_run_are_named_by_their_parameters_alone():
    spec = "alike-online:index=mean,known=0"
    policy = parse_policy(spec)
    assert spec_of(policy) == spec_of(bound(past_of([10] * FEW), policy)) == spec
    assert replace(policy, known=None) == AlikeOnline(index="mean")
    assert AlikeCeiling().clairvoyant
    assert not Alike().clairvoyant
