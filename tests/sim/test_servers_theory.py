"""Several servers compared with queueing theory, where theory says what the mean is.

N servers, Poisson arrivals, a batch size of 1, no prefill, free switches:

* random routing: N queues M/G/1, for FCFS, SRPT and LAS every round, exact for indivisible rounds;
* `sita`: each server is M/G/1 with the sizes of its interval;
* least true work and FCFS, or one queue: M/M/N for exponential sizes, Erlang's formula C;
* round robin: E_N/M/1 for exponential sizes. A request waits 1 / (μ (1 − σ)) on average with
  probability σ, the root below 1 of σ = (Nλ / (Nλ + μ (1 − σ)))^N, where λ is the rate of one
  server;
* `jsq:d=2` with many servers: the share of servers with at least i requests is load^(2^i − 1)
  (Mitzenmacher 2001), in the limit;
* guardrails and SRPT: the ratio to one server that is N times as fast falls as the load approaches
  1, where random routing alone is N times as slow at every load.

Exponential sizes are rounded up to units of a thousandth of their mean: to geometric ones, whose
true mean is in the formulas, and whose squared coefficient of variation is 1 − 0.001, which shifts
a mean wait by 0.05 %. The standard errors are at least six times as large.

Replications and false alarms are as in `test_theory`.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import factorial

from lapsd.policies import FCFS, SRPT, LASRound
from lapsd.sim.engine.run_record import Run
from lapsd.sim.experiment.bound import bound_latency_ns
from lapsd.traces import Workload
from tests.compilation import too_slow_in_python
from tests.sim.queues import UNIT_NS, past_of, poisson, serve, units_workload
from tests.sim.theory import fcfs, holds, las, moments, srpt

pytestmark = too_slow_in_python
MIXED = {1: 0.5, 4: 0.3, 10: 0.2}
HEAVY_TAIL = {1: 0.9, 19: 0.1}  # CV² = 3.6
REPLICATIONS, REQUESTS, CUT = 30, 12_000, 800
MEAN = 1_000  # units


def in_rounds(sizes: dict[int, float], servers: int, load: float, seed: int) -> Workload:
    """Return a workload of rounds of one unit with Poisson arrivals; the load is of each server."""
    rng = np.random.default_rng([seed, 91])
    kinds = sorted(sizes)
    drawn = rng.choice(kinds, size=REQUESTS, p=[sizes[k] for k in kinds])
    gap_ns = moments(sizes)[0] * UNIT_NS / (load * servers)
    arrival_ns = np.rint(np.cumsum(rng.exponential(gap_ns, REQUESTS))).astype(np.int64)
    return units_workload({k: [1] * k for k in kinds}, drawn, arrival_ns)


def rounds_of(work: Workload) -> NDArray[np.int64]:
    """Return the rounds of each request, which take one unit."""
    return work.size_ns // UNIT_NS


def means(run: Run, of: NDArray[np.bool_], unit_ns: float = UNIT_NS) -> float:
    """Return the mean latency in units of some requests, without the first and the last."""
    middle = slice(CUT, -CUT)
    return float(run.latency_ns[middle][of[middle]].mean() / unit_ns)


@pytest.mark.parametrize(
    ("policy", "expected", "sizes", "load"),
    [(FCFS(), fcfs, HEAVY_TAIL, 0.5), (SRPT(), srpt, MIXED, 0.8), (LASRound(), las, MIXED, 0.7)],
    ids=lambda value: getattr(value, "name", None) or getattr(value, "__name__", None),
)
def test_random_routing_makes_independent_queues(policy, expected, sizes, load):
    servers, found = 4, []
    for seed in range(REPLICATIONS):
        work = in_rounds(sizes, servers, load, seed)
        run = serve(work, servers, policy, "random")
        found.append([means(run, rounds_of(work) == k) for k in sorted(sizes)])
    for k, measured in zip(sorted(sizes), np.array(found).T, strict=True):
        theory = expected(sizes, load, k)
        assert holds(measured, theory), (k, measured.mean(), theory)


def test_size_intervals_make_queues_with_truncated_sizes():
    """Half of the work is in requests of at most 4 rounds."""
    sizes, load = {1: 0.4, 2: 0.2, 4: 0.2, 8: 0.1, 16: 0.05}, 0.7
    sizes = {k: p / sum(sizes.values()) for k, p in sizes.items()}
    past = past_of([k * UNIT_NS for k, p in sizes.items() for _ in range(round(p * 1900))], UNIT_NS)
    short = {k: p for k, p in sizes.items() if k <= 4}
    long = {k: p for k, p in sizes.items() if k > 4}
    found = []
    for seed in range(REPLICATIONS):
        work = in_rounds(sizes, 2, load, seed)
        run = serve(work, 2, FCFS(), "sita", past=past)
        assert ((rounds_of(work) > 4) == run.server).all()
        found.append([means(run, run.server == k) for k in (0, 1)])
    for part, measured in zip((short, long), np.array(found).T, strict=True):
        share = sum(part.values())
        own = {k: p / share for k, p in part.items()}
        mean = moments(own)[0]
        own_load = 2 * load * mean * share / moments(sizes)[0]
        theory = fcfs(own, own_load, 0) + mean
        assert holds(measured, theory), (measured.mean(), theory)


def erlang_c(servers: int, load: float) -> float:
    """Return the probability that a request waits in M/M/N."""
    offered = servers * load
    k = np.arange(servers)
    waiting = offered**servers / factorial(servers) / (1 - load)
    return float(waiting / ((offered**k / factorial(k)).sum() + waiting))


def true_mean() -> float:
    """Return the mean of exponential sizes that are rounded up."""
    return float(1 / (1 - np.exp(-1 / MEAN)))


@pytest.mark.parametrize("router", ["least-work-oracle", None], ids=["least-work", "one-queue"])
def test_exponential_sizes_follow_erlang_c(router):
    servers, load, found = 5, 0.75, []
    true_load = load * true_mean() / MEAN
    for seed in range(REPLICATIONS):
        work = poisson(
            np.random.default_rng([seed, 92]), requests=REQUESTS, servers=servers, load=load
        )
        run = serve(work, servers, FCFS(), router)
        wait_ns = (run.first_service_ns - run.arrival_ns)[CUT:-CUT]
        found.append([(wait_ns > 0).mean(), wait_ns.mean() / UNIT_NS])
    waits, wait = np.array(found).T
    chance = erlang_c(servers, true_load)
    theory = chance * true_mean() / (servers * (1 - true_load))
    assert holds(waits, chance), (waits.mean(), chance)
    assert holds(wait, theory), (wait.mean(), theory)
    assert wait.std(ddof=1) / np.sqrt(len(wait)) < 0.02 * theory


@pytest.mark.parametrize("servers", [2, 5])
def test_round_robin_makes_erlang_arrivals(servers):
    load, found = 0.8, []
    true_load = load * true_mean() / MEAN
    for seed in range(REPLICATIONS):
        work = poisson(
            np.random.default_rng([seed, 93]), requests=2 * REQUESTS, servers=servers, load=load
        )
        found.append(means(serve(work, servers, FCFS(), "round-robin"), np.ones(len(work), bool)))
    measured = np.array(found)
    rate = servers * true_load  # of all servers, in 1 / mean size
    root = brentq(lambda s: s - (rate / (rate + 1 - s)) ** servers, 0, 1 - 1e-9)
    theory = true_mean() / (1 - root)
    assert holds(measured, theory), (measured.mean(), theory)
    assert not holds(measured, true_mean() / (1 - true_load))  # M/M/1


def shares(run: Run, servers: int, longest: int) -> NDArray[np.float64]:
    """Return the share of servers with at least 0, 1, ... requests, over the second half of the
    time of arrivals.
    """
    end_ns = int(run.arrival_ns[-1])
    begin_ns = end_ns // 2
    time_ns = np.concatenate([run.arrival_ns, run.finish_ns])
    change = np.repeat([1, -1], len(run.arrival_ns))
    server = np.tile(run.server, 2)
    order = np.lexsort((-change, time_ns, server))
    time_ns, change, server = time_ns[order].clip(begin_ns, end_ns), change[order], server[order]
    length = np.cumsum(change)  # 0 after the last event of each server
    held_ns = np.append(time_ns[1:], 0) - time_ns
    held_ns[np.append(server[1:] != server[:-1], True)] = 0
    by_length = np.bincount(length, weights=held_ns, minlength=longest + 1)
    found = by_length[::-1].cumsum()[::-1] / (servers * (end_ns - begin_ns))
    found[0] = 1
    return found[: longest + 1]


def shares_of_two_choices(servers: int, replications: int) -> NDArray[np.float64]:
    """Return the shares of servers with at least 1, 2 and 3 requests, (replications, 3)."""
    found = []
    for seed in range(replications):
        rng = np.random.default_rng([seed, 94])
        work = poisson(rng, requests=20_000, servers=servers, load=0.8)
        found.append(shares(serve(work, servers, FCFS(), "jsq:d=2"), servers, 3)[1:])
    return np.array(found)


def test_the_shorter_of_two_queues_approaches_its_limit():
    """With 200 servers the limit is kept up to 1 %, and with 5 it is not."""
    true_load = 0.8 * true_mean() / MEAN
    limit = [true_load ** (2**i - 1) for i in (1, 2, 3)]
    for measured, theory in zip(shares_of_two_choices(200, 16).T, limit, strict=True):
        assert holds(measured, theory, within=0.01), (measured.mean(), theory)
    measured = shares_of_two_choices(5, 16)[:, 2]
    assert not holds(measured, limit[2], within=0.01), (measured.mean(), limit[2])


def test_guardrails_approach_the_bound_as_the_load_grows():
    servers, ratios = 10, []
    for load in (0.8, 0.97):
        rng = np.random.default_rng(95)
        sizes = rng.geometric(1 / 20, 60_000)
        gaps_ns = rng.exponential(20 * UNIT_NS / (load * servers), len(sizes))
        arrival_ns = np.rint(np.cumsum(gaps_ns)).astype(np.int64)
        work = units_workload({k: [1] * k for k in np.unique(sizes).tolist()}, sizes, arrival_ns)
        bound = bound_latency_ns(work, servers).mean()
        past = past_of([20 * UNIT_NS], UNIT_NS)
        runs = [
            serve(work, servers, SRPT(), "random", past=past, guardrails=g, load=load)
            for g in (1.0, None)
        ]
        ratios.append([run.latency_ns.mean() / bound for run in runs])
    (low, low_alone), (high, high_alone) = ratios
    assert high < 0.6 * low, ratios
    assert 0.8 * servers < high_alone < 1.25 * servers, ratios
    assert 0.9 * servers < low_alone < 1.1 * servers, ratios
