"""The ranks and parameters of the policies related to `kernel-gittins`."""

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
from lapsd.policies.request_history import MIN_HISTORY
from tests.policies.test_policies import Job
from tests.policies.test_request_history import history_of

ROUND = 10
SWAPS_NS = (3, 5)
SWITCH_PENALTY_NS = 2 * 3 + 5 + 3 * (3 + 5)
# ten requests each of length 10, 20, ..., 100
TENTHS = history_of([10 * (i % 10 + 1) for i in range(100)], predicted=[50] * 100)


def bound(policy, history: RequestHistory | None = None, swaps_ns: tuple[int, int] = (0, 0)):
    return policy.bind(PolicyContext(ROUND, [400], history or RequestHistory(), *swaps_ns))


def rank(policy, now_ns: int = 0, **job):
    return policy.rank(Job(**job).under(policy), now_ns)


@pytest.mark.parametrize(
    ("c", "kept"), [(None, False), (0.0, True), (0.4, True), (0.6, False), (1.0, False)]
)
def test_the_limit_of_trail_keeps_a_request_that_has_emitted_enough_running(c, kept):
    policy = bound(LPSRPT(c=c))
    half = rank(policy, predicted_tokens=100, tokens=50, rounds=10)
    assert (half < rank(policy, predicted_tokens=1, started=False)) is kept
    assert rank(policy, predicted_tokens=100, started=False) == (100,)


def test_in_lp_srpt_a_running_request_ranks_lower_by_the_switch_penalty_in_tokens():
    history = history_of([30] * MIN_HISTORY, rounds=[10] * MIN_HISTORY)  # 3 tokens per round
    job = {"predicted_tokens": 100, "tokens": 50, "rounds": 10}
    policy = bound(LPSRPT(switch_penalty=1), history, SWAPS_NS)
    (waits,), (runs,) = rank(policy, **job), rank(policy, **job, running=True)
    assert waits == 50
    assert waits - runs == pytest.approx(3 * SWITCH_PENALTY_NS / ROUND)
    for free in (bound(LPSRPT(switch_penalty=1), history), bound(LPSRPT(), history, SWAPS_NS)):
        assert rank(free, **job) == rank(free, **job, running=True)


def test_in_laps_sd_the_switch_penalty_reduces_the_service_of_a_running_request():
    policy = LapsSD(switch_penalty=1, sup_1_s=100e-9, K=4, gamma=1, delta=1.0).bind(
        PolicyContext(ROUND, [400], RequestHistory(), *SWAPS_NS)
    )
    job = Job(service_ns=100 + SWITCH_PENALTY_NS, queue=2).under(policy)
    assert policy.rank(job, 0) == (2, True, 0)
    job.running = True
    assert policy.rank(job, 0) == (1, True, 0)
    job.service_ns += 1
    assert policy.rank(job, 0) == (2, True, 0)
    seen = Job(predicted_tokens=100).under(policy)
    seen.run(policy, 1)  # T̃ = 10 · 98 // 2 = 490
    assert policy.rank(seen, 0) == (4, False, 490)
    seen.running = True
    assert policy.rank(seen, 0) == (4, False, 490 - SWITCH_PENALTY_NS)


def test_the_lower_bound_of_a_min_grows_with_the_emitted_tokens():
    policy = bound(AMin(quantile=0.25), TENTHS)
    assert rank(policy, predicted_tokens=50) == (30,)
    assert rank(policy, predicted_tokens=50, tokens=29) == (30,)
    assert rank(policy, predicted_tokens=50, tokens=77) == (77,)
    assert rank(bound(AMin(quantile=1), TENTHS), predicted_tokens=50) == (100,)
    assert rank(
        bound(AMin(quantile=1), history_of(range(1, 41), predicted=[20] * 40)), predicted_tokens=20
    ) == (40,)
    assert rank(bound(AMin()), predicted_tokens=50) == (50,)  # without a history


def test_tie_adds_the_mean_of_the_tail_to_the_expected_length():
    ranks = [rank(bound(TIE(tail=tail), TENTHS), predicted_tokens=50)[1] for tail in (0, 0.5, 1)]
    assert ranks == pytest.approx([55, 77.5, 100])
    assert rank(bound(TIE(), TENTHS), predicted_tokens=50) < rank(
        bound(TIE(), TENTHS), predicted_tokens=50, started=False
    )


def test_boost_orders_by_length_for_small_theta_and_by_arrival_for_large_theta():
    tokens = np.repeat([10, 100, 1_000], 10)
    history = history_of(tokens)
    small, large = (bound(Boost(theta=theta), history) for theta in (0.001, 100))
    short, long = ({"predicted_tokens": n, "arrival_ns": at} for n, at in ((10, 500), (1_000, 400)))
    assert rank(small, **short) < rank(small, **long)  # shortest first
    assert rank(large, **short) > rank(large, **long)  # first come, first served
    assert rank(small, **short)[0] < 500


def adapted(rule: str) -> LapsSDAdapted:
    return LapsSDAdapted(rule=rule, K=4).bind(
        PolicyContext(ROUND, list(range(100, 900, 100)), RequestHistory())
    )


def test_k_falls_by_one_for_each_doubling_of_the_active_requests():
    policy = adapted("present")
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


def test_thresholds_at_quantiles_put_equally_many_past_requests_into_each_queue():
    policy = adapted("quantiles")
    assert [policy.queue_of(size) for size in range(100, 900, 100)] == [1, 1, 2, 2, 3, 3, 4, 4]
    for sizes, queues, time_ns, queue in (([100], 4, 1, 1), ([100, 200], 2, 151, 2)):
        bound_policy = LapsSDAdapted(rule="quantiles", K=queues).bind(
            PolicyContext(ROUND, sizes, RequestHistory())
        )
        assert bound_policy.queue_of(time_ns) == queue
    both = adapted("both")  # 8 queues without active requests
    assert [both.queue_of(size) for size in range(100, 900, 100)] == list(range(1, 9))


def test_the_queue_of_a_request_follows_the_current_thresholds():
    policy = adapted("both")
    job = Job(service_ns=450).under(policy)
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
def test_a_wrong_parameter_of_a_related_policy_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_policy(spec)
