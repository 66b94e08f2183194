"""Relatives of `kernel-gittins`: what each ranks by, and what they are refused."""

import numpy as np
import pytest

from lapsd.policies import (
    LPSRPT,
    TIE,
    AMin,
    Boost,
    Event,
    LapsSD,
    LapsSDAdapted,
    PolicyContext,
    RequestHistory,
    parse_policy,
)
from lapsd.policies.request_history import FEW
from tests.policies.test_policies import Job
from tests.policies.test_request_history import history_of

ROUND = 10
MOVES = (3, 5)
SWITCH_PENALTY_NS = 2 * 3 + 5 + 3 * (3 + 5)
TENTHS = history_of(
    [10 * (i % 10 + 1) for i in range(100)], predicted=[50] * 100
)  # lengths 10, 20, ..., 100, ten each


def bound(policy, history: RequestHistory | None = None, moves: tuple[int, int] = (0, 0)):
    return policy.bind(PolicyContext(ROUND, [400], history or RequestHistory(), *moves))


def rank(policy, now_ns: int = 0, **job):
    return policy.rank(Job(**job), now_ns)


@pytest.mark.parametrize(
    ("c", "kept"), [(None, False), (0.0, True), (0.4, True), (0.6, False), (1.0, False)]
)
def test_trails_limit_keeps_a_request_that_has_emitted_enough(c, kept):
    policy = bound(LPSRPT(c=c))
    half = rank(policy, predicted_tokens=100, tokens=50, rounds=10)
    assert (half < rank(policy, predicted_tokens=1, started=False)) is kept
    assert rank(policy, predicted_tokens=100, started=False) == (100,)


def test_who_runs_is_ahead_in_lp_srpt_by_the_tokens_of_the_lead():
    history = history_of([30] * FEW, rounds=[10] * FEW)  # three tokens a round
    job = {"predicted_tokens": 100, "tokens": 50, "rounds": 10}
    policy = bound(LPSRPT(switch_penalty=1), history, MOVES)
    (waits,), (runs,) = rank(policy, **job), rank(policy, **job, running=True)
    assert waits == 50
    assert waits - runs == pytest.approx(3 * SWITCH_PENALTY_NS / ROUND)
    for free in (bound(LPSRPT(switch_penalty=1), history), bound(LPSRPT(), history, MOVES)):
        assert rank(free, **job) == rank(free, **job, running=True)


def test_who_runs_is_ahead_in_laps_sd_by_the_lead():
    policy = LapsSD(switch_penalty=1, sup_1_s=100e-9, K=4, gamma=1, delta=1.0).bind(
        PolicyContext(ROUND, [400], RequestHistory(), *MOVES)
    )
    job = Job(service_ns=100 + SWITCH_PENALTY_NS, queue=2)
    assert policy.rank(job, 0) == (2, True, 0)
    job.running = True
    assert policy.rank(job, 0) == (1, True, 0)
    job.service_ns += 1
    assert policy.rank(job, 0) == (2, True, 0)
    seen = Job(predicted_tokens=100)
    seen.run(policy, 1)  # T̃ = 10 · 98 // 2 = 490
    assert policy.rank(seen, 0) == (4, False, 490)
    seen.running = True
    assert policy.rank(seen, 0) == (4, False, 490 - SWITCH_PENALTY_NS)


def test_a_lower_bound_grows_with_what_was_emitted():
    policy = bound(AMin(quantile=0.25), TENTHS)
    assert rank(policy, predicted_tokens=50) == (30,)
    assert rank(policy, predicted_tokens=50, tokens=29) == (30,)
    assert rank(policy, predicted_tokens=50, tokens=77) == (77,)
    assert rank(bound(AMin(quantile=1), TENTHS), predicted_tokens=50) == (100,)
    assert rank(
        bound(AMin(quantile=1), history_of(range(1, 41), predicted=[20] * 40)), predicted_tokens=20
    ) == (40,)
    assert rank(bound(AMin()), predicted_tokens=50) == (50,)  # without a past


def test_a_tail_inflates_the_expectation():
    ranks = [rank(bound(TIE(tail=tail), TENTHS), predicted_tokens=50)[1] for tail in (0, 0.5, 1)]
    assert ranks == pytest.approx([55, 77.5, 100])
    assert rank(bound(TIE(), TENTHS), predicted_tokens=50) < rank(
        bound(TIE(), TENTHS), predicted_tokens=50, started=False
    )


def test_arrivals_are_boosted_the_more_the_shorter():
    tokens = np.repeat([10, 100, 1_000], 10)
    history = history_of(tokens)
    few, many = (bound(Boost(theta=theta), history) for theta in (0.001, 100))
    short, long = ({"predicted_tokens": n, "arrival_ns": at} for n, at in ((10, 500), (1_000, 400)))
    assert rank(few, **short) < rank(few, **long)  # shortest first
    assert rank(many, **short) > rank(many, **long)  # first come, first served
    assert rank(few, **short)[0] < 500


def sizes_of(rule: str) -> LapsSDAdapted:
    return LapsSDAdapted(rule=rule, K=4).bind(
        PolicyContext(ROUND, list(range(100, 900, 100)), RequestHistory())
    )


def test_k_falls_as_requests_come():
    policy = sizes_of("present")
    seen = []
    for count in range(1, 65):
        changed = policy.on_event(Event("arrival", Job(), 0))
        if changed or count == 1:
            seen.append((count, policy.queues))
    assert seen == [(1, 8), (2, 7), (4, 6), (8, 5), (16, 4), (32, 3), (64, 2)]
    assert not policy.on_event(Event("arrival", Job(), 0))
    assert not policy.on_event(Event("completion", Job(), 0))
    assert policy.on_event(Event("completion", Job(), 0))
    assert policy.queues == 3


def test_with_quantiles_as_many_past_requests_belong_to_each_queue():
    policy = sizes_of("quantiles")
    assert [policy.queue_of(size) for size in range(100, 900, 100)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert (
        LapsSDAdapted(rule="quantiles", K=4)
        .bind(PolicyContext(ROUND, [100], RequestHistory()))
        .queue_of(1)
        == 1
    )  # of one
    assert (
        LapsSDAdapted(rule="quantiles", K=2)
        .bind(PolicyContext(ROUND, [100, 200], RequestHistory()))
        .queue_of(151)
        == 2
    )
    both = sizes_of("both")  # nobody there: eight queues
    assert [both.queue_of(size) for size in range(100, 900, 100)] == list(range(1, 9))


def test_a_request_is_in_the_queue_of_its_service_by_the_thresholds_of_the_moment():
    policy = sizes_of("both")
    job = Job(service_ns=450)
    before = policy.rank(job, 0)
    for _ in range(16):
        policy.on_event(Event("arrival", Job(), 0))
    assert (before[0], policy.rank(job, 0)[0]) == (4, 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lp-srpt:c=-1", "lp-srpt: c=-1.0 must be between 0 and 1000"),
        ("lp-srpt:switch_penalty=nan", "lp-srpt: switch_penalty=nan must be between 0 and 1000"),
        ("laps-sd:switch_penalty=-1", "laps-sd: switch_penalty=-1.0 must be between 0 and 1000"),
        ("a-min:quantile=2", "a-min: quantile=2.0 must be between 0 and 1"),
        ("tie:tail=-0.1", "tie: tail=-0.1 must be between 0 and 1"),
        ("boost:theta=0", "boost: theta=0.0 must be between 1e-06 and 1000"),
        (
            "laps-sd-adapted:rule=none",
            "laps-sd-adapted: rule=none must be present, quantiles or both",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_policy(spec)
