"""The remaining rounds of a running request, estimated from similar past requests.

`docs/results/kernel-gittins.md` derives the formulas. The arithmetic is made of operations that
every program rounds alike, so that a rank has the same bits in Python as in compiled code: sums are
running sums, and the exponential function is our own.
"""

import math
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_LOG_WEIGHT = -50.0  # relative to the largest weight

# exp(x) = 2^(−steps / STEPS) · exp(rest), for x <= 0; a step is stored as the sum of two floats,
# the first with so few bits that its product with a number of steps is exact
STEPS = 32
STEP = math.log(2) / STEPS
STEP_HIGH = float.fromhex("0x1.62e42feep-1") / STEPS
STEP_LOW = float.fromhex("0x1.a39ef35793c76p-33") / STEPS
POWERS = 2.0 ** (-np.arange(1 - MIN_LOG_WEIGHT / STEP) / STEPS)


def exponentials(values: Floats) -> Floats:
    """Return exp of values between `MIN_LOG_WEIGHT` and 0, with an error of at most 2 ulp."""
    steps = (0.5 - values / STEP).astype(np.int64)
    rest = (values + steps * STEP_HIGH) + steps * STEP_LOW
    series = 1.0 + rest / 6.0
    for order in range(5, 0, -1):
        series = 1.0 + series * rest / order
    found: Floats = POWERS[steps] * series
    return found


def remaining_rounds(
    past: Floats,
    tokens: int,
    rounds: int,
    pace: float,
    per_round: float,
    long_run: float,
    uninformative: bool,
) -> tuple[Floats, Floats]:
    """Return the distribution of the remaining rounds of a request: values and weights.

    Each value comes from a past request that is longer than `tokens`; if neither predictions nor
    paces are informative, from one with more rounds than `rounds`. Both arrays are empty if there
    is none. O(M).

    Parameters
    ----------
    past : array, (4, M)
        Output tokens in ascending order, logs of tokens per round, rounds per token, and logs of
        weights of similar past requests.
    tokens, rounds : int
        Output tokens and rounds that the request has had so far.
    pace, per_round, long_run : float
        As in `Bandwidths` and `PaceVariance`.
    uninformative : bool
        Whether neither predictions nor paces are informative.
    """
    outputs, rounds_per_token = past[0], past[2]
    if uninformative:
        all_rounds = outputs * rounds_per_token
        longer_ones = all_rounds > rounds + 0.5  # whole numbers, but for rounding of floats
        weight = np.maximum(past[3][longer_ones], MIN_LOG_WEIGHT)
        return all_rounds[longer_ones] - rounds, exponentials(weight)
    longer = bisect_right(outputs, tokens)
    if longer == len(outputs):
        return np.zeros(0), np.zeros(0)
    weight = past[3][longer:] + 0.0
    if rounds > 0 and pace < math.inf:
        distance = past[1][longer:] - math.log(tokens / rounds)
        weight = weight + distance * distance * (-0.5 / (per_round / rounds + long_run + pace))
    weight = np.maximum(weight - weight.max(), MIN_LOG_WEIGHT)
    return (outputs[longer:] - tokens) * rounds_per_token[longer:], exponentials(weight)
