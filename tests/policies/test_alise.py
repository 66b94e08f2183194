"""The time model and queues of ALISE, and the skip-join queue of FastServe, computed by hand."""

from dataclasses import dataclass
from typing import Any

import pytest

from lapsd import policy_context
from lapsd.policies import NEVER, Alise, FastServe, PolicyContext, TimeModel, parse_policy
from lapsd.traces import Linear, load_profile, ordinary_decoding, price
from tests.builders import state_of

TIME = TimeModel(prefill_ns_per_token=3, step_ns_per_token=2, step_ns=100, prefill=Linear(50, 1))


@dataclass
class Job:
    """The part of a request that a policy may see."""

    prompt_tokens: int = 10
    predicted_tokens: int = 5
    tokens: int = 0
    service_ns: int = 0
    arrival_ns: int = 0
    index: int = 0
    started: bool = False
    queue: int = 1
    state: Any = None

    def under(self, policy):
        """Return the job, with the State that the policy keeps of it."""
        self.state = state_of(policy, self.index, self.prompt_tokens, self.predicted_tokens)
        return self


def bound(policy, time=TIME, sizes=(400,)):
    return policy.bind(PolicyContext(100, list(sizes), time=time))


def test_in_the_published_time_model_the_context_does_not_grow():
    assert TIME.prefill_ns(10) == 30
    assert TIME.decode_ns(10, 5) == 5 * (2 * 10 + 100)
    assert TIME.decode_ns(10, 5, done=90) == TIME.decode_ns(10, 5)
    assert TIME.decode_ns(10, 0) == TIME.decode_ns(10, -3) == 0


def test_in_the_exact_time_model_the_context_grows_with_each_token():
    assert TIME.prefill_ns(10, "exact") == 50 + 9  # the first round caches the last token
    assert TIME.prefill_ns(1, "exact") == 0
    # steps at contexts 12, 13 and 14
    assert TIME.decode_ns(10, 3, done=2, form="exact") == sum(2 * c + 100 for c in (12, 13, 14))
    n = 40
    assert TIME.decode_ns(10, n, form="exact") - TIME.decode_ns(10, n) == 2 * n * (n - 1) // 2


def test_the_exact_time_model_reproduces_the_past_requests_that_it_is_fitted_to():
    history = ordinary_decoding([11, 300, 900], [7, 50, 200])
    for batch in (1, 16):
        priced = price(history, load_profile("opt-13b-a100"), batch)
        time = policy_context(priced).time
        assert (time.rounds, time.tokens) == (1, 1)
        for row in range(3):
            s, n = int(history.prompt_tokens[row]), int(history.output_tokens[row])
            assert time.decode_ns(s, n, form="exact") == priced.decode_ns[row]
            assert time.prefill_ns(s, "exact") == priced.prefill_ns[row]
    # the fitted line goes through the origin, so its slope includes the intercept
    assert 140_000 < time.prefill_ns_per_token < 200_000


def test_alise_ranks_by_queue_and_then_by_estimated_remaining_time():
    policy = bound(Alise(K=3, M=2.0, sup_1_s=600e-9, age_s=None))
    new, begun, long = (
        job.under(policy) for job in (Job(), Job(started=True, tokens=3), Job(predicted_tokens=100))
    )
    assert policy.rank(new, 0) == (2, 30 + 5 * 120)  # its prefill puts it above Sup_1
    assert policy.rank(begun, 0) == (1, 2 * 120)
    assert policy.rank(long, 0) == (3, 30 + 100 * 120)
    assert policy.remaining_ns(long) == 30 + 100 * 120


def test_a_waiting_request_rises_one_queue_per_age_and_then_goes_before_all_queues():
    policy = bound(Alise(K=3, M=2.0, sup_1_s=600e-9, age_s=1e-6))
    job = Job(predicted_tokens=100, arrival_ns=500).under(policy)
    assert [policy.rank(job, 500 + at)[0] for at in (0, 999, 1_000, 2_000, 3_000, 9_000)] == [
        3,
        3,
        2,
        1,
        0,
        0,
    ]
    assert policy.rank(job, 9_500) == (0, 500)
    assert policy.wake(job, 500) == 1_500
    assert policy.wake(job, 1_500) == 2_500
    assert policy.wake(job, 3_500) == NEVER
    served = Job(predicted_tokens=100, arrival_ns=500, service_ns=700, started=True).under(policy)
    assert policy.rank(served, 2_199)[0] == 3  # service does not count as waiting
    assert policy.wake(served, 2_199) == 2_200


@pytest.mark.parametrize(("overrun", "then"), [(2.0, 10), (1.1, 6)])
def test_a_prediction_grows_when_the_output_reaches_it(overrun, then):
    policy = bound(Alise(overrun=overrun, age_s=None))
    job = Job(started=True, tokens=4).under(policy)
    policy.on_round(job, 0)
    assert job.state.output_tokens == 5
    job.tokens = 5
    policy.on_round(job, 0)
    assert job.state.output_tokens == then
    assert policy.remaining_ns(job) == (then - 5) * 120


def test_at_overrun_1_the_prediction_stays_and_the_request_goes_first():
    policy = bound(Alise(overrun=1, age_s=None))
    job = Job(started=True, tokens=9).under(policy)
    policy.on_round(job, 0)
    assert (job.state.output_tokens, policy.rank(job, 0)) == (5, (1, 0))


def test_the_exact_model_adds_the_time_of_growing_contexts():
    policies = [bound(Alise(model=model, age_s=None)) for model in ("published", "exact")]
    published, exact = (
        policy.remaining_ns(Job(predicted_tokens=50, started=True).under(policy))
        for policy in policies
    )
    assert exact - published == 2 * 50 * 49 // 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("alise:overrun=0.5", "alise: overrun=0.5 must be between 1 and 1000"),
        ("alise:model=guess", "alise: model=guess must be published or exact"),
        ("alise:age_s=0", "alise: age_s=0.0 must be above 0"),
        ("fastserve:quantum_ms=0", "fastserve: quantum_ms=0.0 must be above 0"),
        ("fastserve:levels=0", "fastserve: levels=0 must be between 1 and 64"),
        ("fastserve:starve_s=-1", "fastserve: starve_s=-1.0 must be above 0"),
    ],
)
def test_parameters_of_alise_and_fastserve_out_of_bounds_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_policy(spec)


def fastserve(**parameters):
    """FastServe with a first quantum of 100 ns."""
    return bound(FastServe(**{"quantum_ms": 100e-6, "levels": 4, "starve_s": 1e-6, **parameters}))


def test_a_new_request_joins_the_first_level_whose_quantum_covers_its_prefill():
    policy = fastserve()
    ranks = [
        policy.rank(Job(prompt_tokens=p, arrival_ns=7).under(policy), 7)
        for p in (1, 51, 52, 151, 152, 9_000)
    ]
    assert ranks == [(0, 1, 7), (0, 1, 7), (1, 1, 7), (1, 1, 7), (2, 1, 7), (3, 1, 7)]


def test_a_request_that_exceeds_its_quantum_falls_to_the_front_of_the_next_level():
    policy = fastserve()
    job = Job(prompt_tokens=1, started=True).under(policy)
    job.service_ns = 100
    policy.on_round(job, 100)
    assert policy.rank(job, 100) == (0, 1, 0)  # it has used its quantum, but not exceeded it
    assert policy.remaining_ns(job) == 0
    job.service_ns = 160
    policy.on_round(job, 160)
    assert (policy.rank(job, 160), job.queue) == ((1, 0, -160), 2)
    assert policy.remaining_ns(job) == 200
    job.service_ns = 210
    policy.on_round(job, 210)
    assert policy.remaining_ns(job) == 150  # of 200 ns, it has used 50 in this level
    new = Job(prompt_tokens=60, arrival_ns=0).under(policy)
    assert policy.rank(job, 160) < policy.rank(new, 160)  # before new requests of the level
    later = Job(prompt_tokens=1, started=True, service_ns=101).under(policy)
    policy.on_round(later, 300)
    assert policy.rank(later, 300) < policy.rank(job, 300)


def test_the_last_level_has_no_quantum():
    policy = fastserve(levels=1)
    job = Job(prompt_tokens=900, started=True, service_ns=10**12).under(policy)
    policy.on_round(job, 10**12)
    assert policy.rank(job, 10**12)[0] == 0


def test_a_starving_request_goes_to_the_front_of_the_first_level_with_a_full_quantum():
    policy = fastserve()
    job = Job(prompt_tokens=400, arrival_ns=0).under(policy)
    assert policy.rank(job, 999) == (3, 1, 0)
    assert policy.wake(job, 0) == 1_000
    assert policy.rank(job, 1_000) == policy.rank(job, 5_000) == (0, 0, -1_000)
    assert policy.wake(job, 1_000) == NEVER
    job.started, job.service_ns = True, 90
    policy.on_round(job, 2_000)  # after one round of 90 ns
    assert (policy.rank(job, 2_000), job.state.entry_service_ns) == ((0, 0, -2_000), 0)
    assert policy.wake(job, 2_000) == 3_000
    job.service_ns = 101
    policy.on_round(job, 2_011)
    assert policy.rank(job, 2_011) == (1, 0, -2_011)
    never = fastserve(starve_s=None)
    long = Job(prompt_tokens=400).under(never)
    assert (never.rank(long, 10**15), never.wake(long, 10**15)) == ((3, 1, 0), NEVER)
    ran = Job(prompt_tokens=400, service_ns=700, started=True).under(never)
    never.on_round(ran, 2_000)
    # the time of the last round once was added to NEVER, and waits in ALISE's memory went wrong
    assert never.wake(ran, 2_000) == NEVER


def test_requests_that_joined_a_level_keep_their_order_while_they_run():
    """After its first round a request once went to the front of the level that it had joined, so
    that a newcomer displaced an earlier request instead of the latest.
    """
    policy = fastserve()
    jobs = [Job(prompt_tokens=1, arrival_ns=at, started=True).under(policy) for at in (0, 5)]
    for now_ns, job in zip((50, 90), reversed(jobs), strict=True):
        job.service_ns = 40
        policy.on_round(job, now_ns)
    newcomer = Job(prompt_tokens=1, arrival_ns=60).under(policy)
    ranks = [policy.rank(job, 90) for job in (*jobs, newcomer)]
    assert ranks == sorted(ranks) == [(0, 1, 0), (0, 1, 5), (0, 1, 60)]


def test_the_round_that_ends_starvation_counts_against_the_first_quantum():
    policy = fastserve()
    job = Job(prompt_tokens=400, service_ns=150, started=True).under(policy)
    policy.on_round(job, 2_000)  # the round of 150 ns began after 1,000 ns of waiting
    assert (policy.rank(job, 2_000), job.queue) == ((1, 0, -2_000), 2)
    in_time = Job(prompt_tokens=400, service_ns=150, started=True).under(policy)
    policy.on_round(in_time, 1_149)  # began at 999 ns
    assert policy.rank(in_time, 1_149) == (3, 1, 0)
