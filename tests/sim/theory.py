"""Mean latencies of queues in theory, exact for indivisible rounds, and the test of a mean.

One server, Poisson arrivals of rate λ, sizes of k rounds of length Δ with probability p_k, no
prefill, free switches. A started round always finishes, so the usual continuous formulas are wrong
by up to some percent. Each derivation follows a tagged job of k rounds (Harchol-Balter,
"Performance Modeling and Design of Computer Systems", chapters 23, 31 and 33, with rounds in place
of instants):

* FCFS: Pollaczek-Khinchine, E[T] = λ E[S²] / (2 (1 − ρ)) + E[S], also for hyperexponential sizes
  (CV² about 10).
* SRPT: a job counts only while at most k of its rounds remain. On arrival the tagged job finds
  either one round in progress or a job with k rounds remaining. Then it is served. Before each of
  its rounds, except the first two, it waits for new jobs smaller than its own remaining rounds.
* LAS every round: other jobs count with at most k rounds; longer jobs also count with the round
  that takes them above k.

Functions of `sizes` (the probability of each number of rounds), `load` and k return E[T] of jobs of
k rounds, in rounds.
"""

import numpy as np
from scipy.stats import t as student

FALSE_ALARM = 4e-6


def holds(measured: np.ndarray, expected: float, within: float = 0.0) -> bool:
    """Return whether Student's t of independent means keeps the expected value, which may be wrong
    by a share `within`.
    """
    error = measured.std(ddof=1) / np.sqrt(len(measured))
    allowed = student.ppf(1 - FALSE_ALARM / 2, len(measured) - 1) * error
    return bool(abs(measured.mean() - expected) <= allowed + within * abs(expected))


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
