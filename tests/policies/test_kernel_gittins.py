"""Ranks by what past requests like this one still took."""

from dataclasses import replace

import numpy as np
import pytest

from lapsd.policies import (
    Event,
    KernelGittins,
    KernelGittinsOnline,
    KernelGittinsOracle,
    PolicyContext,
    RequestHistory,
    parse_policy,
    spec_of,
)
from lapsd.policies.request_history import FEW
from lapsd.policies.switch_penalty import switch_penalty_ns
from tests.policies.test_policies import Job
from tests.policies.test_request_history import history_of

ROUND = 10


def bound(
    history: RequestHistory, policy: KernelGittins | None = None, moves: tuple[int, int] = (0, 0)
) -> KernelGittins:
    return (policy or KernelGittins()).bind(PolicyContext(ROUND, [400], history, *moves))


def rank(policy: KernelGittins, **job) -> float:
    return policy.rank(Job(**job), 0)[0]


def test_a_rank_is_the_time_that_requests_like_it_still_took():
    """Half of the past had 10 tokens and half 30, two a round: 5 rounds or 15."""
    history = history_of([10, 30] * FEW, predicted=[20] * (2 * FEW))
    gittins, mean = bound(history), bound(history, KernelGittins(index="mean"))
    assert rank(mean, predicted_tokens=20) == pytest.approx(ROUND * 10)
    assert rank(gittins, predicted_tokens=20) == pytest.approx(
        ROUND * 10
    )  # 5 rounds each for half: 10 a completion
    old = {"predicted_tokens": 20, "rounds": 6, "tokens": 12}  # so it is one of the long ones
    assert rank(mean, **old) == rank(gittins, **old) == pytest.approx(ROUND * 9)


def test_the_index_goes_first_for_a_chance_that_the_mean_does_not_see():
    """Nine in ten are done after 5 rounds, the tenth after 500."""
    history = history_of([10] * 90 + [1_000] * 10, predicted=[100] * 100)
    gittins, mean = bound(history), bound(history, KernelGittins(index="mean"))
    assert rank(gittins, predicted_tokens=100) == pytest.approx(ROUND * 5 / 0.9)
    assert rank(mean, predicted_tokens=100) == pytest.approx(ROUND * (0.9 * 5 + 0.1 * 500))


def test_the_trust_in_predictions_is_learnt():
    """The same prediction, of twice the median: believed where the past's were right, not where
    they told nothing.
    """
    tokens = np.unique(np.geomspace(10, 1_000, 60).astype(np.int64))
    shuffled = np.random.default_rng(1).permutation(tokens)
    right, wrong = (
        bound(history_of(tokens, predicted=some), KernelGittins(index="mean"))
        for some in (tokens, shuffled)
    )
    assert rank(right, predicted_tokens=200) == pytest.approx(ROUND * 100, rel=0.1)
    assert rank(wrong, predicted_tokens=200) == pytest.approx(
        rank(wrong, predicted_tokens=20), rel=0.25
    )


def test_without_a_past_the_prediction_counts_and_then_what_was_had():
    policy = bound(RequestHistory())
    assert rank(policy, predicted_tokens=30) == ROUND * 30
    assert rank(policy, predicted_tokens=30, rounds=4, tokens=12) == ROUND * 18
    assert rank(policy, predicted_tokens=30, rounds=9, tokens=30) == ROUND * 9
    assert rank(bound(history_of([10] * FEW)), predicted_tokens=8, rounds=6, tokens=12) == ROUND * 6


def test_who_runs_is_ahead_by_what_its_stopping_costs():
    history = history_of([10, 30] * FEW, predicted=[20] * (2 * FEW))
    job = {"predicted_tokens": 20, "rounds": 2, "tokens": 4}
    for switch_penalty in (0.0, 1.0, 2.0):
        policy = bound(history, KernelGittins(switch_penalty=switch_penalty), moves=(3, 5))
        lead = rank(policy, **job) - rank(policy, **job, running=True)
        assert lead == pytest.approx(
            switch_penalty * (2 * 3 + 5 + 3 * (3 + 5))
        )  # for two; and for three behind them
    assert rank(bound(history), **job) == rank(
        bound(history), **job, running=True
    )  # where nothing has to move


def test_the_lead_grows_with_those_who_run_beside():
    """Three behind and three beside; and a seat comes free four times as often."""
    assert switch_penalty_ns(
        PolicyContext(ROUND, [400], RequestHistory(), 3, 5, batch_slots=4)
    ) == 4 * (2 * 3 + 5 + 6 * (3 + 5))
    assert switch_penalty_ns(PolicyContext(ROUND, [400], RequestHistory(), batch_slots=4)) == 0


def test_patience_counts_the_time_that_it_has_been_there():
    history = history_of([10, 30] * FEW, predicted=[20] * (2 * FEW))
    policy = bound(history, KernelGittins(age_weight=0.25))
    first, later = (rank(policy, predicted_tokens=20, arrival_ns=at) for at in (1_000, 5_000))
    assert later - first == pytest.approx(1_000)


def test_who_is_done_joins_the_past():
    policy = bound(RequestHistory(), KernelGittinsOnline(index="mean"))
    before = rank(policy, predicted_tokens=100)
    for _ in range(FEW):
        job = Job(history=[1] * 10, rounds=10, tokens=20, predicted_tokens=100)
        assert policy.on_event(Event("completion", job, 0))
    assert not policy.on_event(Event("arrival", Job(), 0))
    assert before == ROUND * 100
    assert rank(policy, predicted_tokens=100) == pytest.approx(ROUND * 10)
    done = policy.growing.history
    assert (done.rounds.tolist(), done.early_tokens.tolist()) == ([10] * FEW, [10] * FEW)


def test_a_long_past_is_taken_in_anew_only_when_it_has_grown():
    policy = bound(history_of([20] * 80), KernelGittinsOnline())
    job = Job(history=[1] * 10, rounds=10, tokens=20)
    assert [policy.on_event(Event("completion", job, 0)) for _ in range(12)] == [False] * 10 + [
        True,
        False,
    ]
    assert len(policy.growing.history) == 91


def test_each_run_learns_anew():
    policy, job = KernelGittinsOnline(known=0), Job(history=[1] * 10, rounds=10, tokens=20)
    context = PolicyContext(ROUND, [400], history_of([20] * 80))
    first, second = policy.bind(context), policy.bind(context)
    first.on_event(Event("completion", job, 0))
    assert (len(first.growing.history), len(second.growing.history)) == (1, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("kernel-gittins:index=median", "kernel-gittins: index=median must be gittins or mean"),
        (
            "kernel-gittins:switch_penalty=-1",
            "kernel-gittins: switch_penalty=-1.0 must be between 0 and 1000",
        ),
        (
            "kernel-gittins:age_weight=nan",
            "kernel-gittins: age_weight=nan must be between 0 and 1e\\+06",
        ),
        ("kernel-gittins-online:known=-1", "kernel-gittins-online: known=-1 must be at least 0"),
        ("kernel-gittins-online:known=many", "kernel-gittins-online: known=many: needs an integer"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_policy(spec)


def test_policies_of_a_run_are_named_by_their_parameters_alone():
    spec = "kernel-gittins-online:index=mean,known=0"
    policy = parse_policy(spec)
    assert spec_of(policy) == spec_of(bound(history_of([10] * FEW), policy)) == spec
    assert replace(policy, known=None) == KernelGittinsOnline(index="mean")
    assert KernelGittinsOracle().clairvoyant
    assert not KernelGittins().clairvoyant
