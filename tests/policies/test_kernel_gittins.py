"""The ranks of `kernel-gittins` and its variants, computed by hand."""

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
from lapsd.policies.request_history import MIN_HISTORY
from lapsd.policies.switch_penalty import switch_penalty_ns
from tests.policies.test_policies import Job
from tests.policies.test_request_history import history_of

ROUND = 10


def bound(
    history: RequestHistory, policy: KernelGittins | None = None, swaps_ns: tuple[int, int] = (0, 0)
) -> KernelGittins:
    return (policy or KernelGittins()).bind(PolicyContext(ROUND, [400], history, *swaps_ns))


def rank(policy: KernelGittins, **job) -> float:
    ranked = Job(**job).under(policy)
    if ranked.rounds:
        policy.on_round(ranked, 0)
    return policy.rank(ranked, 0)[0]


def test_a_rank_is_the_remaining_time_of_similar_past_requests():
    """Half of the past requests had 10 tokens and half 30, at 2 per round: 5 or 15 rounds."""
    history = history_of([10, 30] * MIN_HISTORY, predicted=[20] * (2 * MIN_HISTORY))
    gittins, mean = bound(history), bound(history, KernelGittins(index="mean"))
    assert rank(mean, predicted_tokens=20) == pytest.approx(ROUND * 10)
    # after 5 rounds each, half are complete: 10 rounds per completion
    assert rank(gittins, predicted_tokens=20) == pytest.approx(ROUND * 10)
    old = {"predicted_tokens": 20, "rounds": 6, "tokens": 12}  # so it has 30 tokens
    assert rank(mean, **old) == rank(gittins, **old) == pytest.approx(ROUND * 9)


def test_the_gittins_index_is_low_if_most_requests_end_soon_and_the_mean_is_not():
    """Nine of ten past requests had 5 rounds, the tenth 500."""
    history = history_of([10] * 90 + [1_000] * 10, predicted=[100] * 100)
    gittins, mean = bound(history), bound(history, KernelGittins(index="mean"))
    assert rank(gittins, predicted_tokens=100) == pytest.approx(ROUND * 5 / 0.9)
    assert rank(mean, predicted_tokens=100) == pytest.approx(ROUND * (0.9 * 5 + 0.1 * 500))


def test_predictions_count_only_if_past_predictions_were_right():
    """A prediction of twice the median length counts after right predictions, but not after random
    ones.
    """
    tokens = np.unique(np.geomspace(10, 1_000, 60).astype(np.int64))
    shuffled = np.random.default_rng(1).permutation(tokens)
    right, wrong = (
        bound(history_of(tokens, predicted=predicted), KernelGittins(index="mean"))
        for predicted in (tokens, shuffled)
    )
    assert rank(right, predicted_tokens=200) == pytest.approx(ROUND * 100, rel=0.1)
    assert rank(wrong, predicted_tokens=200) == pytest.approx(
        rank(wrong, predicted_tokens=20), rel=0.25
    )


def test_without_similar_requests_the_prediction_counts_and_beyond_it_the_past_rounds():
    policy = bound(RequestHistory())
    assert rank(policy, predicted_tokens=30) == ROUND * 30
    assert rank(policy, predicted_tokens=30, rounds=4, tokens=12) == ROUND * 18
    assert rank(policy, predicted_tokens=30, rounds=9, tokens=30) == ROUND * 9
    assert (
        rank(bound(history_of([10] * MIN_HISTORY)), predicted_tokens=8, rounds=6, tokens=12)
        == ROUND * 6
    )


def test_a_running_request_ranks_lower_by_the_switch_penalty():
    history = history_of([10, 30] * MIN_HISTORY, predicted=[20] * (2 * MIN_HISTORY))
    job = {"predicted_tokens": 20, "rounds": 2, "tokens": 4}
    for switch_penalty in (0.0, 1.0, 2.0):
        policy = bound(history, KernelGittins(switch_penalty=switch_penalty), swaps_ns=(3, 5))
        difference = rank(policy, **job) - rank(policy, **job, running=True)
        # for the two requests, and for three that wait behind them
        assert difference == pytest.approx(switch_penalty * (2 * 3 + 5 + 3 * (3 + 5)))
    without_swaps = bound(history)
    assert rank(without_swaps, **job) == rank(without_swaps, **job, running=True)


def test_the_switch_penalty_grows_with_the_batch():
    """Three others wait and three run; a batch slot becomes free four times as often."""
    assert switch_penalty_ns(
        PolicyContext(ROUND, [400], RequestHistory(), 3, 5, batch_slots=4)
    ) == 4 * (2 * 3 + 5 + 6 * (3 + 5))
    assert switch_penalty_ns(PolicyContext(ROUND, [400], RequestHistory(), batch_slots=4)) == 0


def test_age_weight_ranks_earlier_arrivals_lower():
    history = history_of([10, 30] * MIN_HISTORY, predicted=[20] * (2 * MIN_HISTORY))
    policy = bound(history, KernelGittins(age_weight=0.25))
    first, later = (rank(policy, predicted_tokens=20, arrival_ns=at) for at in (1_000, 5_000))
    assert later - first == pytest.approx(1_000)


def test_a_completed_request_joins_the_history_of_the_online_policy():
    policy = bound(RequestHistory(), KernelGittinsOnline(index="mean"))
    before = rank(policy, predicted_tokens=100)
    for _ in range(MIN_HISTORY):
        job = Job(history=[1] * 10, rounds=10, tokens=20, predicted_tokens=100)
        assert policy.on_event(Event("completion", job, 0))
    assert not policy.on_event(Event("arrival", Job(), 0))
    assert before == ROUND * 100
    assert rank(policy, predicted_tokens=100) == pytest.approx(ROUND * 10)
    history = policy.growing.history
    assert history.rounds.tolist() == history.early_tokens.tolist() == [10] * MIN_HISTORY


def test_a_long_history_is_rebuilt_only_when_it_has_grown_by_an_eighth():
    policy = bound(history_of([20] * 80), KernelGittinsOnline())
    job = Job(history=[1] * 10, rounds=10, tokens=20)
    assert [policy.on_event(Event("completion", job, 0)) for _ in range(12)] == [False] * 10 + [
        True,
        False,
    ]
    assert len(policy.growing.history) == 91


def test_each_run_of_the_online_policy_starts_from_the_same_history():
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
def test_a_wrong_parameter_of_kernel_gittins_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_policy(spec)


def test_the_spec_of_a_bound_policy_has_only_its_parameters():
    spec = "kernel-gittins-online:index=mean,known=0"
    policy = parse_policy(spec)
    assert spec_of(policy) == spec_of(bound(history_of([10] * MIN_HISTORY), policy)) == spec
    assert replace(policy, known=None) == KernelGittinsOnline(index="mean")
    assert KernelGittinsOracle().clairvoyant
    assert not KernelGittins().clairvoyant
