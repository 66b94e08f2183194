"""The simulator compared with queueing theory, with formulas that are exact for indivisible rounds.

The module `theory` has the formulas of FCFS, SRPT and LAS. One more is here:

* FCFS in batches of c, with geometric sizes and the same cost of a round for any batch: not M/M/c
  but a Markov chain of the number N of jobs at starts of rounds, N' = N − Bin(min(N, c), p) +
  Poisson(λΔ); from N' = 0 the next arrival starts a round at once. The time average of N over
  rounds and idle times, and Little's law, give E[T].

Each case has 30 independent replications without their first and last requests. Where nothing is
compiled it has 6 short ones, because a round takes half a millisecond in Python. The statistic is
Student's t over the means of replications. With random seeds, a correct simulator would fail a
case with a probability of 4·10^-6, each size with a tenth of it, and any case with less than 10^-4.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, poisson, t as student

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, POLICIES, SRPT, LASRound, Policy, PolicyContext, parse_policy
from lapsd.traces import Linear, Profile, RoundTerms, Workload, price, trace_from_rounds
from tests.builders import row
from tests.compilation import IN_PYTHON, too_slow_in_python
from tests.sim.theory import FALSE_ALARM, fcfs, holds, las, moments, srpt

DELTA = 10_000_000  # ns
PROFILE = Profile.constant(draft_ms=0, verify_ms=10)
MIXED = {1: 0.5, 4: 0.3, 10: 0.2}
LIGHT_TAIL = {3: 0.5, 4: 0.5}
HEAVY_TAIL = {1: 0.9, 19: 0.1}  # CV² = 3.6
REPLICATIONS, REQUESTS = (6, 2_000) if IN_PYTHON else (30, 6_000)
CUT = 300


def replication(
    sizes: dict[int, float], load: float, seed: int, requests: int = REQUESTS
) -> tuple[Workload, np.ndarray]:
    """Return a workload with Poisson arrivals, and the rounds of each request."""
    rng = np.random.default_rng([seed, 77])
    kinds = sorted(sizes)
    priced = price(trace_from_rounds([row(str(k), 1, [0] * k) for k in kinds]), PROFILE)
    rows = rng.choice(len(kinds), size=requests, p=[sizes[k] for k in kinds])
    mean = sum(k * p for k, p in sizes.items()) * DELTA
    arrivals = np.rint(np.cumsum(rng.exponential(mean / load, requests))).astype(np.int64)
    rounds = np.array(kinds)[rows]
    return Workload(priced, rows, arrivals, rounds), rounds


def latencies(
    policy: Policy, sizes: dict[int, float], load: float, replications: int = REPLICATIONS
) -> np.ndarray:
    """Return mean latencies in rounds by size, with shape (replications, sizes)."""
    found = []
    past = PolicyContext(
        DELTA, [k * DELTA for k, p in sizes.items() for _ in range(round(p * 100))]
    )
    for seed in range(replications):
        work, rounds = replication(sizes, load, seed)
        latency = (
            simulate(
                work, policy, context=past, capacity=Capacity(kv_slots="unlimited")
            ).latency_ns[CUT:-CUT]
            / DELTA
        )
        found.append([latency[rounds[CUT:-CUT] == k].mean() for k in sorted(sizes)])
    return np.array(found)


def hyperexponential(mean: float, cv2: float, longest: int) -> dict[int, float]:
    """Return the distribution of rounds for two kinds of geometric requests with balanced means
    (Morse 1958).
    """
    share = (1 + np.sqrt((cv2 - 1) / (cv2 + 1))) / 2
    k = np.arange(1, longest + 1)
    found = np.zeros(longest)
    for weight in (share, 1 - share):
        p = 2 * weight / mean
        found += weight * p * (1 - p) ** (k - 1)
    return dict(zip(k.tolist(), (found / found.sum()).tolist(), strict=True))


@too_slow_in_python
def test_fcfs_follows_pollaczek_khinchine_for_highly_variable_sizes():
    """CV² is about 10.

    At load 0.5 waiting times are correlated over some hundred requests. With 40,000 requests in
    each of 30 replications the standard error is about 1 %.
    """
    sizes = hyperexponential(10, 10, 1500)
    mean, square = moments(sizes)
    assert 9 < square / mean**2 - 1 < 11
    measured = []
    for seed in range(REPLICATIONS):
        work, _ = replication(sizes, 0.5, seed, 40_000)
        run = simulate(
            work, FCFS(), context=PolicyContext(DELTA, [1]), capacity=Capacity(kv_slots="unlimited")
        )
        measured.append(run.latency_ns[4 * CUT : -CUT].mean() / DELTA)
    expected = fcfs(sizes, 0.5, 0) + mean
    found = np.array(measured)
    assert holds(found, expected), (found.mean(), expected)
    assert found.std(ddof=1) / np.sqrt(len(found)) < 0.03 * expected


@pytest.mark.parametrize(
    ("policy", "expected", "sizes", "load"),
    [
        (FCFS(), fcfs, MIXED, 0.7),
        (FCFS(), fcfs, HEAVY_TAIL, 0.5),
        (SRPT(), srpt, MIXED, 0.8),
        (SRPT(), srpt, HEAVY_TAIL, 0.7),
        (LASRound(), las, MIXED, 0.7),
        (LASRound(), las, LIGHT_TAIL, 0.6),
        (LASRound(), las, HEAVY_TAIL, 0.7),
    ],
    ids=lambda value: getattr(value, "name", None) or getattr(value, "__name__", None),
)
def test_mean_latency_agrees_with_theory(policy, expected, sizes, load):
    measured = latencies(policy, sizes, load)
    theory = np.array([expected(sizes, load, k) for k in sorted(sizes)])
    shares = np.array([sizes[k] for k in sorted(sizes)])
    assert holds(measured @ shares, theory @ shares), ((measured @ shares).mean(), theory @ shares)
    for column, value in zip(measured.T, theory, strict=True):
        # each size, with a tenth of the probability of a false alarm
        error = column.std(ddof=1) / np.sqrt(len(column))
        assert (
            abs(column.mean() - value) <= student.ppf(1 - FALSE_ALARM / 20, len(column) - 1) * error
        )


def chain(batch: int, p: float, rate: float, states: int = 160) -> float:
    """Return E[T] in rounds of FCFS in batches; `rate` is the arrivals per round."""
    new = poisson.pmf(np.arange(states), rate)
    step = np.zeros((states, states))  # from N = row + 1 at a round's start to N' at its end
    for n in range(1, states + 1):
        leaving = binom.pmf(np.arange(min(n, batch) + 1), min(n, batch), p)
        for gone, chance in enumerate(leaving):
            room = states - (n - gone)
            step[n - 1, n - gone :] += chance * new[: max(room, 0)]
    idle = step[:, 0].copy()
    move = np.zeros((states, states))
    move[:, : states - 1] = step[:, 1:]
    move[:, 0] += idle
    move /= move.sum(1, keepdims=True)  # states above the last one are cut off
    stationary = np.full(states, 1 / states)
    for _ in range(4_000):
        stationary = stationary @ move
    present = stationary @ (np.arange(1, states + 1) + rate / 2)
    return float(present / (1 + stationary @ idle / rate) / rate)


@pytest.mark.parametrize(("batch", "load"), [(1, 0.7), (2, 0.8), (4, 0.8)])
def test_batches_of_geometric_requests_agree_with_the_markov_chain(batch, load):
    p = 0.25
    terms = RoundTerms(Linear(0, 0), {1: DELTA}, {1: 0}, 0)
    profile = replace(PROFILE, costs=replace(PROFILE.costs, rounds={1: terms, 4: terms}))
    priced = price(trace_from_rounds([row(str(k), 1, [0] * k) for k in range(1, 81)]), profile)
    measured = []
    for seed in range(REPLICATIONS):
        rng = np.random.default_rng([seed, 78, batch])
        rows = np.minimum(rng.geometric(p, REQUESTS), 80) - 1
        arrivals = np.rint(np.cumsum(rng.exponential(DELTA / (load * batch * p), REQUESTS))).astype(
            np.int64
        )
        work = Workload(priced, rows, arrivals, rows + 1)
        run = simulate(
            work, FCFS(), context=PolicyContext(DELTA, [1]), capacity=Capacity(batch, "unlimited")
        )
        measured.append(run.latency_ns[CUT:-CUT].mean() / DELTA)
    expected = chain(batch, p, load * batch * p)
    assert holds(np.array(measured), expected), (np.mean(measured), expected)


def test_the_continuous_formula_of_srpt_is_rejected():
    """The test is sharp: the formula for very short rounds fails for requests of one round."""
    fine = {20 * k: p for k, p in MIXED.items()}
    smallest = latencies(SRPT(), MIXED, 0.8, 12)[:, 0]
    assert holds(smallest, srpt(MIXED, 0.8, 1))
    assert not holds(smallest, srpt(fine, 0.8, 20) / 20)


def test_gittins_with_the_true_distribution_is_not_worse_than_las_and_fcfs():
    """A one-sided test of differences that are paired over replications."""
    for sizes in (MIXED, LIGHT_TAIL, HEAVY_TAIL):
        shares = np.array([sizes[k] for k in sorted(sizes)])
        gittins = latencies(parse_policy("gittins"), sizes, 0.7, 12) @ shares
        for other in (FCFS(), LASRound()):
            difference = gittins - latencies(other, sizes, 0.7, 12) @ shares
            error = difference.std(ddof=1) / np.sqrt(len(difference))
            assert (
                difference.mean()
                <= student.ppf(1 - FALSE_ALARM, len(difference) - 1) * error + 1e-9
            )


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_server_is_idle_exactly_while_there_is_no_request(name):
    """Work conservation, to the nanosecond."""
    work, _ = replication(MIXED, 0.8, 3)
    past = PolicyContext(DELTA, [DELTA * k for k in (1, 4, 10)])
    run = simulate(work, parse_policy(name), context=past, capacity=Capacity(kv_slots="unlimited"))
    arrived, finished = np.sort(run.arrival_ns), np.sort(run.finish_ns)
    # the k-th departure empties the server if it comes no later than the next arrival
    empty_ns = np.maximum(arrived[1:] - finished[:-1], 0).sum() + arrived[0]
    assert run.idle_ns == empty_ns > 0
    assert run.end_ns - run.idle_ns == run.service_ns.sum()
