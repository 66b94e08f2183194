"""LAPS-SD's stability and placement, and policies as text."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lapsd import Capacity, simulate
from lapsd.policies import (
    FCFS,
    LAS,
    NEVER,
    POLICIES,
    LapsSD,
    Policy,
    PolicyContext,
    parse_policy,
    spec_of,
)
from lapsd.traces import Profile, load_profile, load_trace, price, trace_from_rounds
from tests.builders import MS, context, row, workload


@dataclass
class Job:
    """A job with a history of accepted counts, n = 4."""

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


def test_a_request_is_perceptible_at_the_first_round_whose_window_is_calm():
    policy, job = bound(gamma=3, delta=0.05), Job()
    seen = []
    for accepted in (4, 0, 2, 2, 2, 2):  # running means 1, .5, .5, .5, .5, .5
        job.run(policy, accepted)
        seen.append(job.state is not None)
    assert seen == [False, False, False, True, True, True]


def test_the_range_of_the_window_must_be_strictly_below_delta():
    for delta, stable in ((0.5, False), (0.51, True)):
        policy, job = bound(gamma=2, delta=delta), Job()
        job.run(policy, 4)
        job.run(policy, 0)  # running means 1 and 0.5
        assert (job.state is not None) is stable


def test_delta_zero_makes_nothing_perceptible():
    policy, job = bound(gamma=1, delta=0.0), Job()
    for _ in range(50):
        job.run(policy, 2)
    assert job.state is None
    assert job.queue == 4  # so it fell like LAS


def test_the_estimate_is_the_papers_with_what_was_seen_at_the_transition():
    policy, job = bound(gamma=2, delta=1.0), Job(predicted_tokens=20)
    job.run(policy, 1)
    job.run(policy, 2)
    # mean accepted 1.5, so 2.5 tokens a round of 10 ns: 15 tokens are left after 5
    assert policy.predicted_remaining_ns(job) == 10 * (20 - 5) / 2.5
    job.run(policy, 4)  # later rounds change what remains, not the rate
    assert policy.predicted_remaining_ns(job) == 10 * (20 - 10) / 2.5


def test_an_overrun_leaves_nothing_to_estimate():
    policy, job = bound(gamma=1, delta=1.0), Job(predicted_tokens=2)
    job.run(policy, 4)
    assert policy.predicted_remaining_ns(job) == 0


def test_an_output_far_past_its_prediction_is_taken_to_have_a_token_left():
    """Where even the longer prediction is overrun: never none, while the request runs."""
    for accepted in (4, 3):
        policy, job = bound(gamma=1, delta=1.0, overrun=1.5), Job(predicted_tokens=2)
        job.run(policy, accepted)
        job.run(policy, 4)  # 10 or 9 tokens: half again of 2 is 3
        assert job.state.output_tokens == job.tokens + 1
        assert policy.predicted_remaining_ns(job) == 10 * 1 // (accepted + 1)


def perceived(c_bar: int, rounds: int, accepted: int, left: int) -> tuple[LapsSD, Job]:
    """A request that became perceptible after so many rounds and has so many tokens left."""
    policy = LapsSD(count=1).bind(PolicyContext(c_bar, [400]))
    job = Job(
        rounds=rounds,
        history=[accepted],
        tokens=accepted + rounds,
        predicted_tokens=accepted + rounds + left,
    )
    policy.on_round(job, 0)
    return policy, job


def test_equal_estimates_tie_whatever_floats_would_do():
    """T̃ is 21 mean rounds for both: as floats, c̄ · r / (accepted + r) · left differs in the last
    bit.
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
def test_an_estimate_is_the_whole_nanoseconds_of_the_exact_quotient(c_bar, rounds, accepted, left):
    policy, job = perceived(c_bar, rounds, accepted, left)
    assert (
        policy.predicted_remaining_ns(job)
        == Fraction(c_bar * rounds * left, accepted + rounds) // 1
    )
    assert type(policy.predicted_remaining_ns(job)) is int


def test_thresholds_grow_by_m_from_the_median_past_size():
    policy = bound(K=4, M=2.0)
    assert policy.bounds_ns == (100, 200, 400)  # 400 / 2 ** (4 / 2)
    assert [policy.queue_of(t) for t in (0, 100, 101, 200, 201, 400, 401)] == [1, 1, 2, 2, 3, 3, 4]
    assert LAS(K=3, M=3, sup_1_s=1).bind(PolicyContext(1, [1])).bounds_ns == (10**9, 3 * 10**9)


def test_a_perceptible_request_is_placed_once_and_goes_first_in_its_queue():
    policy, job = bound(gamma=1, delta=1.0), Job(predicted_tokens=100)
    job.run(policy, 1)
    assert job.queue == 4  # 98 tokens at 2 a round of 10 ns: 490 > 400
    for _ in range(45):
        job.run(policy, 1)
    assert job.queue == 4
    assert policy.predicted_remaining_ns(job) == 40
    noisy = Job(queue=4)
    assert policy.rank(job, 0) < policy.rank(noisy, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sjf", "unknown policy 'sjf': known are fcfs, rr, las, las-round, gittins, lp-sjf"),
        (
            "laps-sd:k=4",
            "has no parameter 'k': its parameters are K, M, sup_1_s, age_s, gamma, delta, follow",
        ),
        ("laps-sd:K=0", "K=0 must be between 1 and 64"),
        ("laps-sd:M=1", "M=1.0 must be above 1"),
        ("laps-sd:delta=-0.1", "delta=-0.1 must be between 0 and 1"),
        ("laps-sd:delta=nan", "delta=nan must be between 0 and 1"),
        ("laps-sd:gamma=0", "gamma=0 must be between 1"),
        ("laps-sd:gamma=2.5", "needs an integer, as in gamma=5"),
        ("laps-sd:K", "needs an integer, as in K=4"),
        ("laps-sd:K=2,K=3", "parameter 'K' is given twice"),
        ("las:sup_1_s=0", "sup_1_s=0.0 must be above 0"),
        ("las:sup_1_s=-1", "sup_1_s=-1.0 must be above 0"),
        ("laps-sd:order=random", "order=random must be remaining or total"),
        ("laps-sd:stability=x", "stability=x must be range or sd or window or posterior"),
        ("laps-sd:follow=yes", "needs true or false"),
        ("laps-sd:overrun=0.5", "overrun=0.5 must be between 1"),
        ("rr:quantum=0", "quantum=0 must be between 1"),
        ("fcfs:K=4", "policy fcfs has no parameter 'K': it has none"),
        ("srpt:outlook=1", "policy srpt has no parameter 'outlook'"),
    ],
)
def test_a_wrong_spec_is_refused_with_what_is_known(spec, message):
    with pytest.raises(ValueError) as error:
        parse_policy(spec)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "outside", "within"),
    [
        ("las:K", (0, 65), (1, 64)),
        ("las:M", (0.5, 1, 1000.1), (1.001, 1000)),
        ("las:sup_1_s", (-1, 0), (1e-9, 1e9)),
        ("las:age_s", (-1, 0), (1e-9, 1e9)),
        ("laps-sd:gamma", (0, 100_001), (1, 100_000)),
        ("laps-sd:delta", (-0.1, 1.1), (0, 1)),
        ("laps-sd:overrun", (0.9, 1000.1), (1, 1000)),
        ("laps-sd:count", (-1, 100_001), (0, 100_000)),
        ("laps-sd:switch_penalty", (-0.1, 1000.1), (0, 1000)),
        ("lp-srpt:c", (-0.1, 1000.1), (0, 1000)),
        ("lp-srpt:switch_penalty", (-0.1, 1000.1), (0, 1000)),
        ("rr:quantum", (0, 1_000_001), (1, 1_000_000)),
        ("tie:tail", (-0.1, 1.1), (0, 1)),
        ("a-min:quantile", (-0.1, 1.1), (0, 1)),
        ("boost:theta", (9e-7, 1000.1), (1e-6, 1000)),
        ("alise:overrun", (0.9, 1000.1), (1, 1000)),
        ("fastserve:quantum_ms", (0, 1.1e9), (1e-6, 1e9)),
        ("fastserve:levels", (0, 65), (1, 64)),
        ("fastserve:starve_s", (0, 1.1e9), (1e-9, 1e9)),
        ("kernel-gittins-online:known", (-1,), (0, 5)),
    ],
)
def test_parameters_are_bounded_as_they_say(name, outside, within):
    for value in within:
        parse_policy(f"{name}={value}")
    for value in outside:
        with pytest.raises(ValueError, match=f"{name.split(':')[1]}={value:.10g}.* must be"):
            parse_policy(f"{name}={value:.10g}")


def test_a_policy_and_its_spec_are_each_other():
    for name in POLICIES:
        assert spec_of(parse_policy(name)) == name
    policy = parse_policy("laps-sd:K=6,gamma=8,delta=0.1")
    assert policy == LapsSD(K=6, gamma=8, delta=0.1)
    assert spec_of(policy) == "laps-sd:K=6,gamma=8,delta=0.1"
    assert parse_policy("laps-sd:sup_1_s=auto") == LapsSD()
    assert parse_policy("laps-sd:follow=true,order=total") == LapsSD(follow=True, order="total")
    assert spec_of(LapsSD(follow=True, order="total")) == "laps-sd:follow=true,order=total"
    assert spec_of(LapsSD(M=3.0, delta=0.1234567890123)) == "laps-sd:M=3,delta=0.1234567890123"


@pytest.mark.parametrize("name", POLICIES)
def test_what_the_outlook_fills_in_is_no_parameter(name):
    history = context(price(load_trace("reference"), load_profile("reference")))
    policy = parse_policy(name)
    assert spec_of(policy.bind(history)) == name
    assert repr(policy.bind(history)) == repr(policy)


def test_a_policy_without_a_rank_says_so():
    with pytest.raises(NotImplementedError, match="Policy defines no rank"):
        Policy().rank(Job(), 0)


def test_fcfs_never_lets_go_of_what_it_started():
    assert FCFS().rank(Job(index=7, started=True), 0) < FCFS().rank(Job(index=1, started=False), 0)


def test_the_gittins_index_of_two_sizes_by_hand():
    """Sizes 10 and 100, equally likely: at 0 the first milestone pays 10 + 10 for one completion of
    two.
    """
    policy = parse_policy("gittins").bind(PolicyContext(1, [100, 10]))
    assert policy.service_a_completion(0) == 20.0
    assert policy.service_a_completion(5) == 10.0
    assert policy.service_a_completion(10) == 90.0  # only the long one is left
    assert policy.service_a_completion(100) == float("inf")


def test_a_geometric_size_has_a_flat_index_and_a_constant_one_a_falling_one():
    sizes = [10 * k for k in range(1, 200) for _ in range(round(2_000 * 0.9 ** (k - 1) * 0.1))]
    policy = parse_policy("gittins").bind(PolicyContext(1, sizes))
    early = [policy.service_a_completion(a) for a in (0, 50, 100)]
    assert max(early) / min(early) < 1.1
    constant = parse_policy("gittins").bind(PolicyContext(1, [50] * 5))
    assert [constant.service_a_completion(a) for a in (0, 20, 40)] == [50, 30, 10]


def test_round_robin_gives_turns_of_so_many_rounds():
    policy, first, second = parse_policy("rr:quantum=2"), Job(index=0), Job(index=1)
    first.run(policy, 1)
    assert policy.rank(first, 10) < policy.rank(second, 10)  # in its turn
    first.run(policy, 1)
    assert policy.rank(second, 20) < policy.rank(first, 20)


def test_windowed_stability_does_not_come_with_time_alone():
    """Acceptance that swings for ever calms the running mean and not the window."""
    swings = [4, 4, 0, 0] * 50
    outcomes = {}
    for kind in ("range", "window"):
        policy, job = bound(gamma=3, delta=0.1, stability=kind), Job(predicted_tokens=10**6)
        for accepted in swings:
            job.run(policy, accepted)
        outcomes[kind] = job.state is not None
    assert outcomes == {"range": True, "window": False}


def test_a_posterior_is_narrow_enough_after_as_many_drafts_as_it_takes():
    """Two of four accepted a round: Beta(11, 11) after five rounds is the first below 0.105."""
    policy, job = bound(gamma=1, delta=0.105, stability="posterior"), Job(predicted_tokens=10**6)
    for rounds in range(1, 6):
        assert job.state is None, rounds
        job.run(policy, 2)
    assert job.state is not None
    assert (11 * 11 / (22**2 * 23)) ** 0.5 < 0.105 < (9 * 9 / (18**2 * 19)) ** 0.5


def test_a_request_goes_a_queue_higher_for_each_spell_that_it_has_waited():
    policy = LAS(K=4, M=2, sup_1_s=1e-8, age_s=1e-6).bind(
        PolicyContext(mean_round_ns=10, past_sizes_ns=[400])
    )
    job = Job(queue=3, service_ns=30, arrival_ns=100)
    # it has waited for now − 100 − 30 ns, and rises at 1000 and 2000 of them
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


def test_ageing_lets_a_starving_request_through():
    """One long request among a stream of short ones: without ageing it ends last, with it long
    before.
    """
    long, short = row("long", 1, [0] * 20, n=0), row("short", 1, [0] * 2, n=0)
    priced = price(
        trace_from_rounds([long] + [short] * 60), Profile.constant(draft_ms=0, verify_ms=10)
    )
    work = workload(priced, [0, *(5 + 19 * i for i in range(60))])
    finish = {}
    for age_s in (None, 0.1):
        policy = LapsSD(sup_1_s=0.025, delta=0, age_s=age_s)
        run = simulate(
            work, policy, context=PolicyContext(10 * MS, [10**9]), capacity=Capacity(kv_slots=None)
        )
        finish[age_s] = run.finish_ns[0]
    assert finish[0.1] < 0.8 * finish[None]


OWN = """
from dataclasses import dataclass
from lapsd.policies import Policy


@dataclass(frozen=True)
class Newest(Policy):
    \"\"\"Last come, first served.\"\"\"

    turns: int = 3

    def rank(self, job, now_ns):
        return (job.rounds >= self.turns, -job.index)


class NoPolicy:
    pass
"""


def test_a_policy_of_ones_own_is_named_by_module_and_class(tmp_path, monkeypatch):
    (tmp_path / "own_policies.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    policy = parse_policy("own_policies.Newest:turns=5")
    assert policy.turns == 5
    assert spec_of(policy) == "Newest:turns=5"
    for spec, message in (
        ("own_policies.Oldest", "policy own_policies.Oldest: own_policies has no Oldest"),
        ("own_policies.NoPolicy", "is no subclass of policies.Policy"),
        ("nowhere_at_all.Newest", "cannot import nowhere_at_all"),
        ("own_policies.Newest:K=3", "has no parameter 'K': its parameters are turns"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_policy(spec)


def test_a_policy_of_ones_own_is_swept_in_workers(tmp_path, monkeypatch):
    import subprocess
    import sys

    import pandas as pd

    (tmp_path / "own_policies.py").write_text(OWN)
    script = "from lapsd.cli import main; main()"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            "sweep",
            "--out",
            "s",
            "--policy",
            "own_policies.Newest",
            "--policy",
            "fcfs",
            "--turns",
            "2:4",
            "--requests",
            "6",
            "--seeds",
            "300",
            "--workers",
            "2",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = pd.read_parquet(tmp_path / "s")
    assert set(records["policy"]) == {"Newest:turns=2", "Newest", "Newest:turns=4", "fcfs"}
    assert records["turns"].value_counts().tolist() == [300, 300, 300]
