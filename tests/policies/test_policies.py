"""The ranks of LAPS-SD and of the simple policies, computed by hand."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

import pytest
from hypothesis import given, strategies as st

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LAS, NEVER, LapsSD, Policy, PolicyContext, parse_policy
from lapsd.traces import Profile, price, trace_from_rounds
from tests.builders import MS, row, state_of, workload


@dataclass
class Job:
    """A job with the accepted tokens of each round, of 4 draft tokens."""

    history: list[int] = field(default_factory=list)
    rounds: int = 0
    tokens: int = 0
    service_ns: int = 0
    predicted_tokens: int = 100
    queue: int = 1
    state: Any = None
    started: bool = True
    running: bool = False
    index: int = 0
    arrival_ns: int = 0
    prompt_tokens: int = 10

    def under(self, policy: Policy) -> Self:
        """Return the job, with the State that the policy keeps of it."""
        self.state = state_of(policy, self.index, self.prompt_tokens, self.predicted_tokens)
        return self

    def run(self, policy: Policy, accepted: int, round_ns: int = 10) -> None:
        self.history.append(accepted)
        self.rounds += 1
        self.tokens += accepted + 1
        self.service_ns += round_ns
        policy.on_round(self, self.service_ns)

    @property
    def accepted(self) -> int:
        return sum(self.history)

    @property
    def drafted(self) -> int:
        return 4 * self.rounds

    def acceptance(self, rounds: int) -> float:
        return sum(self.history[:rounds]) / (4 * rounds) if rounds else 0.0

    def acceptances(self, last: int) -> list[float]:
        return [self.acceptance(r) for r in range(self.rounds - last + 1, self.rounds + 1)]

    def acceptance_range(self, last: int) -> float:
        return max(self.acceptances(last)) - min(self.acceptances(last))


def bound(**parameters: Any) -> LapsSD:
    return LapsSD(**parameters).bind(PolicyContext(mean_round_ns=10, past_sizes_ns=[400]))


def test_a_request_is_perceptible_from_the_first_round_with_a_stable_window():
    policy = bound(gamma=3, delta=0.05)
    job = Job().under(policy)
    seen = []
    for accepted in (4, 0, 2, 2, 2, 2):  # running means 1, .5, .5, .5, .5, .5
        job.run(policy, accepted)
        seen.append(job.state.perceptible)
    assert seen == [False, False, False, True, True, True]


def test_the_range_of_the_window_must_be_strictly_below_delta():
    for delta, stable in ((0.5, False), (0.51, True)):
        policy = bound(gamma=2, delta=delta)
        job = Job().under(policy)
        job.run(policy, 4)
        job.run(policy, 0)  # running means 1 and 0.5
        assert job.state.perceptible is stable


def test_with_delta_0_no_request_becomes_perceptible():
    policy = bound(gamma=1, delta=0.0)
    job = Job().under(policy)
    for _ in range(50):
        job.run(policy, 2)
    assert not job.state.perceptible
    assert job.queue == 4  # as with LAS


def test_the_estimate_uses_the_acceptance_at_the_round_of_the_transition():
    policy = bound(gamma=2, delta=1.0)
    job = Job(predicted_tokens=20).under(policy)
    job.run(policy, 1)
    job.run(policy, 2)
    # 1.5 accepted on average, so 2.5 tokens per round of 10 ns; 15 tokens remain after 5
    assert policy.predicted_remaining_ns(job) == 10 * (20 - 5) / 2.5
    job.run(policy, 4)  # a later round changes the remaining tokens, not the rate
    assert policy.predicted_remaining_ns(job) == 10 * (20 - 10) / 2.5


def test_an_output_beyond_its_prediction_has_no_estimated_remaining_time():
    policy = bound(gamma=1, delta=1.0)
    job = Job(predicted_tokens=2).under(policy)
    job.run(policy, 4)
    assert policy.predicted_remaining_ns(job) == 0


def test_an_output_far_beyond_its_prediction_is_estimated_to_need_one_more_token():
    """With `overrun` the estimate of a running request is never 0, even beyond the longer
    prediction.
    """
    for accepted in (4, 3):
        policy = bound(gamma=1, delta=1.0, overrun=1.5)
        job = Job(predicted_tokens=2).under(policy)
        job.run(policy, accepted)
        job.run(policy, 4)  # 10 or 9 tokens, and the longer prediction is 3
        assert job.state.output_tokens == job.tokens + 1
        assert policy.predicted_remaining_ns(job) == 10 * 1 // (accepted + 1)


def perceived(c_bar: int, rounds: int, accepted: int, left: int) -> tuple[LapsSD, Job]:
    """Return a request that became perceptible after `rounds` and has `left` remaining tokens."""
    policy = LapsSD(count=1).bind(PolicyContext(c_bar, [400]))
    job = Job(
        rounds=rounds,
        history=[accepted],
        tokens=accepted + rounds,
        predicted_tokens=accepted + rounds + left,
    ).under(policy)
    policy.on_round(job, 0)
    return policy, job


def test_equal_estimates_are_equal_ranks_without_rounding_errors():
    """T̃ is 21 mean rounds for both requests, but c̄ · r / (accepted + r) · left in floats differs in
    the last bit.
    """
    c_bar = 10_000_001
    ranks, floats = set(), set()
    for rounds, accepted, left in ((7, 3, 30), (7, 8, 45)):
        policy, job = perceived(c_bar, rounds, accepted, left)
        ranks.add(policy.rank(job, 0))
        floats.add(c_bar * rounds / (accepted + rounds) * left)
    assert len(floats) == 2
    assert ranks == {(4, False, 21 * c_bar)}


@given(st.integers(1, 10**9), st.integers(1, 5_000), st.integers(0, 5_000), st.integers(0, 5_000))
def test_an_estimate_is_the_exact_quotient_rounded_down_to_nanoseconds(
    c_bar, rounds, accepted, left
):
    policy, job = perceived(c_bar, rounds, accepted, left)
    assert (
        policy.predicted_remaining_ns(job)
        == Fraction(c_bar * rounds * left, accepted + rounds) // 1
    )
    assert type(policy.predicted_remaining_ns(job)) is int


def test_thresholds_start_from_the_median_past_size_and_grow_by_m():
    policy = bound(K=4, M=2.0)
    assert policy.bounds_ns == (100, 200, 400)  # 400 / 2 ** (4 / 2)
    assert [policy.queue_of(t) for t in (0, 100, 101, 200, 201, 400, 401)] == [1, 1, 2, 2, 3, 3, 4]
    assert LAS(K=3, M=3, sup_1_s=1).bind(PolicyContext(1, [1])).bounds_ns == (10**9, 3 * 10**9)


def test_a_perceptible_request_is_placed_once_and_goes_first_in_its_queue():
    policy = bound(gamma=1, delta=1.0)
    job = Job(predicted_tokens=100).under(policy)
    job.run(policy, 1)
    assert job.queue == 4  # 98 tokens at 2 per round of 10 ns: 490 > 400
    for _ in range(45):
        job.run(policy, 1)
    assert job.queue == 4
    assert policy.predicted_remaining_ns(job) == 40
    noisy = Job(queue=4).under(policy)
    assert policy.rank(job, 0) < policy.rank(noisy, 0)


def test_a_policy_without_a_rank_raises():
    with pytest.raises(NotImplementedError, match="Policy defines no rank"):
        Policy().rank(Job(), 0)


def test_fcfs_ranks_a_started_request_before_earlier_ones():
    assert FCFS().rank(Job(index=7, started=True), 0) < FCFS().rank(Job(index=1, started=False), 0)


def test_the_gittins_index_of_two_sizes_by_hand():
    """Sizes 10 and 100, equally likely: after 10 each, one of two requests is complete."""
    policy = parse_policy("gittins").bind(PolicyContext(1, [100, 10]))
    assert policy.service_per_completion(0) == 20.0
    assert policy.service_per_completion(5) == 10.0
    assert policy.service_per_completion(10) == 90.0  # only the size 100 remains
    assert policy.service_per_completion(100) == float("inf")


def test_the_rank_by_gittins_stays_for_geometric_sizes_and_falls_for_a_constant_size():
    sizes = [10 * k for k in range(1, 200) for _ in range(round(2_000 * 0.9 ** (k - 1) * 0.1))]
    policy = parse_policy("gittins").bind(PolicyContext(1, sizes))
    early = [policy.service_per_completion(a) for a in (0, 50, 100)]
    assert max(early) / min(early) < 1.1
    constant = parse_policy("gittins").bind(PolicyContext(1, [50] * 5))
    assert [constant.service_per_completion(a) for a in (0, 20, 40)] == [50, 30, 10]


def test_a_turn_of_round_robin_lasts_quantum_rounds():
    policy = parse_policy("rr:quantum=2")
    first, second = (Job(index=index).under(policy) for index in (0, 1))
    first.run(policy, 1)
    assert policy.rank(first, 10) < policy.rank(second, 10)  # its turn is not over
    first.run(policy, 1)
    assert policy.rank(second, 20) < policy.rank(first, 20)


def test_with_a_window_a_swinging_acceptance_never_becomes_stable():
    """The running mean of a swinging acceptance becomes stable; its windows do not."""
    swings = [4, 4, 0, 0] * 50
    outcomes = {}
    for kind in ("range", "window"):
        policy = bound(gamma=3, delta=0.1, stability=kind)
        job = Job(predicted_tokens=10**6).under(policy)
        for accepted in swings:
            job.run(policy, accepted)
        outcomes[kind] = job.state.perceptible
    assert outcomes == {"range": True, "window": False}


def test_with_posterior_stability_a_request_is_perceptible_once_the_deviation_is_below_delta():
    """With 2 of 4 accepted per round, Beta(11, 11), after five rounds, is the first below 0.105."""
    policy = bound(gamma=1, delta=0.105, stability="posterior")
    job = Job(predicted_tokens=10**6).under(policy)
    for rounds in range(1, 6):
        assert not job.state.perceptible, rounds
        job.run(policy, 2)
    assert job.state.perceptible
    assert (11 * 11 / (22**2 * 23)) ** 0.5 < 0.105 < (9 * 9 / (18**2 * 19)) ** 0.5


def test_a_waiting_request_of_las_rises_one_queue_per_age():
    policy = LAS(K=4, M=2, sup_1_s=1e-8, age_s=1e-6).bind(
        PolicyContext(mean_round_ns=10, past_sizes_ns=[400])
    )
    job = Job(queue=3, service_ns=30, arrival_ns=100)
    # it has waited for now − 100 − 30 ns, and rises after 1000 and 2000 ns
    assert [policy.rank(job, now) for now in (130, 1129, 1130, 2130, 9130)] == [
        (3,),
        (3,),
        (2,),
        (1,),
        (1,),
    ]
    assert [policy.wake(job, now) for now in (130, 1129, 1130, 2129)] == [1130, 1130, 2130, 2130]
    assert policy.wake(job, 2130) == NEVER
    assert LAS().bind(PolicyContext(10, [400])).wake(job, 500) == NEVER


def test_ageing_finishes_a_starving_request_earlier():
    """One long request arrives before a stream of short ones; without ageing it ends last."""
    long, short = row("long", 1, [0] * 20, n=0), row("short", 1, [0] * 2, n=0)
    priced = price(
        trace_from_rounds([long] + [short] * 60), Profile.constant(draft_ms=0, verify_ms=10)
    )
    work = workload(priced, [0, *(5 + 19 * i for i in range(60))])
    finish = {}
    for age_s in (None, 0.1):
        policy = LapsSD(sup_1_s=0.025, delta=0, age_s=age_s)
        run = simulate(
            work,
            policy,
            context=PolicyContext(10 * MS, [10**9]),
            capacity=Capacity(kv_slots="unlimited"),
        )
        finish[age_s] = run.finish_ns[0]
    assert finish[0.1] < 0.8 * finish[None]
