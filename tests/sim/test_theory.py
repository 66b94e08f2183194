"""The simulator against queueing theory, in the forms that are exact for indivisible rounds.

One server, Poisson arrivals of rate λ, sizes of k rounds of length Δ with probability p_k, no
prefill, free switches. A started round always finishes, so continuous formulas are off by up to
some percent; these are not. Each derivation follows the tagged job of k rounds (Harchol-Balter,
"Performance Modeling and Design of Computer Systems", chapters 23, 31 and 33, with rounds in place
of instants):

* FCFS: Pollaczek-Khinchine, E[T] = λ E[S²] / (2 (1 − ρ)) + E[S], also for hyperexponential sizes
  (CV² about 10).
* SRPT: jobs count only while they have at most k rounds left. What the tagged job finds is one
  round in progress or the rest of a job that is down to k; then it is served, and each of its
  rounds but the first two waits for what arrives of sizes smaller than what it has left.
* LAS every round: the tagged job sees all others cut at k rounds, longer ones with the round that
  takes them past k.
* FCFS in batches of c, geometric sizes, a round's cost the same for any batch: not M/M/c but a
  chain of the number N at the starts of rounds, N' = N − Bin(min(N, c), p) + Poisson(λΔ), where
  from N' = 0 the next arrival starts a round at once; its time average, over rounds and idle
  spells, and Little's law give E[T].

Each case has 30 independent replications with warm-up and drain cut off; the statistic is Student's
t over the means of replications, refused beyond odds of 4·10^-6 a case and a tenth of it a size:
below 10^-4 for all of it, were the seeds not fixed.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, poisson, t as student

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, POLICIES, SRPT, LASRound, Policy, PolicyContext, parse_policy
from lapsd.traces import Linear, Profile, RoundTerms, Workload, price, trace_from_rounds
from tests.builders import row

DELTA = 10_000_000  # ns
PROFILE = Profile.constant(draft_ms=0, verify_ms=10)
MIXED = {1: 0.5, 4: 0.3, 10: 0.2}
LIGHT_TAIL = {3: 0.5, 4: 0.5}
HEAVY_TAIL = {1: 0.9, 19: 0.1}  # CV² = 3.6
REPLICATIONS, REQUESTS, CUT = 30, 6_000, 300
FALSE_ALARM = 4e-6


def replication(
    sizes: dict[int, float], load: float, seed: int, requests: int = REQUESTS
) -> tuple[Workload, np.ndarray]:
    """A workload of Poisson arrivals, and the rounds of each request."""
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
    """Mean latency by size in rounds, (replications, kinds)."""
    found = []
    past = PolicyContext(
        DELTA, [k * DELTA for k, p in sizes.items() for _ in range(round(p * 100))]
    )
    for seed in range(replications):
        work, rounds = replication(sizes, load, seed)
        latency = (
            simulate(work, policy, context=past, capacity=Capacity(kv_slots=None)).latency_ns[
                CUT:-CUT
            ]
            / DELTA
        )
        found.append([latency[rounds[CUT:-CUT] == k].mean() for k in sorted(sizes)])
    return np.array(found)


def holds(measured: np.ndarray, expected: float) -> bool:
    error = measured.std(ddof=1) / np.sqrt(len(measured))
    return (
        abs(measured.mean() - expected)
        <= student.ppf(1 - FALSE_ALARM / 2, len(measured) - 1) * error
    )


def moments(sizes: dict[int, float]) -> tuple[float, float]:
    return sum(k * p for k, p in sizes.items()), sum(k * k * p for k, p in sizes.items())


def fcfs(sizes: dict[int, float], load: float, k: int) -> float:
    mean, square = moments(sizes)
    return load / mean * square / (2 * (1 - load)) + k


def srpt(sizes: dict[int, float], load: float, k: int) -> float:
    rate = load / moments(sizes)[0]

    def below(n: int) -> float:
        return rate * sum(j * p for j, p in sizes.items() if j <= n)

    found = sum(p * j * j for j, p in sizes.items() if j <= k)
    found += sum(p * ((k + 1) ** 2 + (j - k - 1)) for j, p in sizes.items() if j > k)
    wait = rate / 2 * found / ((1 - below(k)) * (1 - below(k - 1)))
    return wait + 1 + sum(1 / (1 - below(r - 2)) for r in range(2, k + 1))


def las(sizes: dict[int, float], load: float, k: int) -> float:
    rate = load / moments(sizes)[0]

    def cut(n: int) -> float:
        return rate * sum(min(j, n) * p for j, p in sizes.items())

    square = sum(min(j, k) ** 2 * p for j, p in sizes.items())
    square += sum(p for j in range(k + 1, max(sizes) + 1) for s, p in sizes.items() if s >= j)
    wait = rate / 2 * square / ((1 - cut(k)) * (1 - cut(k - 1)))
    return wait + (k - 1) / (1 - cut(k - 1)) + 1


def hyperexponential(mean: float, cv2: float, longest: int) -> dict[int, float]:
    """Rounds of two kinds of geometric requests with balanced means; (w, m) of each from Morse
    (1958).
    """
    share = (1 + np.sqrt((cv2 - 1) / (cv2 + 1))) / 2
    k = np.arange(1, longest + 1)
    found = np.zeros(longest)
    for weight in (share, 1 - share):
        p = 2 * weight / mean
        found += weight * p * (1 - p) ** (k - 1)
    return dict(zip(k.tolist(), (found / found.sum()).tolist(), strict=True))


def test_fcfs_follows_pollaczek_and_khinchine_for_very_variable_sizes():
    """CV² of about 10.

    At load 0.5 a wait is forgotten after some hundred requests: 40,000 in each replication give
    a standard error of about 1 % over 30 of them.
    """
    sizes = hyperexponential(10, 10, 1500)
    mean, square = moments(sizes)
    assert 9 < square / mean**2 - 1 < 11
    measured = []
    for seed in range(REPLICATIONS):
        work, _ = replication(sizes, 0.5, seed, 40_000)
        run = simulate(
            work, FCFS(), context=PolicyContext(DELTA, [1]), capacity=Capacity(kv_slots=None)
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
def test_mean_latency_is_what_theory_says(policy, expected, sizes, load):
    measured = latencies(policy, sizes, load)
    theory = np.array([expected(sizes, load, k) for k in sorted(sizes)])
    shares = np.array([sizes[k] for k in sorted(sizes)])
    assert holds(measured @ shares, theory @ shares), ((measured @ shares).mean(), theory @ shares)
    for column, value in zip(measured.T, theory, strict=True):
        # by size as well, at a tenth of the odds each
        error = column.std(ddof=1) / np.sqrt(len(column))
        assert (
            abs(column.mean() - value) <= student.ppf(1 - FALSE_ALARM / 20, len(column) - 1) * error
        )


def chain(batch: int, p: float, rate: float, states: int = 160) -> float:
    """E[T] in rounds of FCFS in batches; `rate` is arrivals a round."""
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
    move /= move.sum(1, keepdims=True)  # what the cut-off loses
    stationary = np.full(states, 1 / states)
    for _ in range(4_000):
        stationary = stationary @ move
    present = stationary @ (np.arange(1, states + 1) + rate / 2)
    return float(present / (1 + stationary @ idle / rate) / rate)


@pytest.mark.parametrize(("batch", "load"), [(1, 0.7), (2, 0.8), (4, 0.8)])
def test_batches_of_geometric_requests_follow_their_chain(batch, load):
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
            work, FCFS(), context=PolicyContext(DELTA, [1]), capacity=Capacity(batch, None)
        )
        measured.append(run.latency_ns[CUT:-CUT].mean() / DELTA)
    expected = chain(batch, p, load * batch * p)
    assert holds(np.array(measured), expected), (np.mean(measured), expected)


def test_the_continuous_forms_would_be_off():
    """The test can tell: the textbook's SRPT, rounds made infinitesimal, is refused for requests of
    one round.
    """
    fine = {20 * k: p for k, p in MIXED.items()}
    smallest = latencies(SRPT(), MIXED, 0.8, 12)[:, 0]
    assert holds(smallest, srpt(MIXED, 0.8, 1))
    assert not holds(smallest, srpt(fine, 0.8, 20) / 20)


def test_gittins_is_no_worse_than_las_and_fcfs_where_it_knows_the_distribution():
    """Paired over replications, one-sided."""
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
def test_the_server_idles_exactly_while_nobody_is_there(name):
    """Work conservation, to the nanosecond: its idle time is the time when nobody is present."""
    work, _ = replication(MIXED, 0.8, 3)
    past = PolicyContext(DELTA, [DELTA * k for k in (1, 4, 10)])
    run = simulate(work, parse_policy(name), context=past, capacity=Capacity(kv_slots=None))
    arrived, finished = np.sort(run.arrival_ns), np.sort(run.finish_ns)
    # the k-th departure empties the server if it comes no later than the next arrival
    nobody = np.maximum(arrived[1:] - finished[:-1], 0).sum() + arrived[0]
    assert run.idle_ns == nobody > 0
    assert run.end_ns - run.idle_ns == run.service_ns.sum()
