"""Past requests, and what they say of one like them: how long each is likely to be the one that this request is like.

Knows nothing of ranks or of the server. `docs/beyond.md` derives it.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEW = 8  # of fewer past requests no error of predictions is learnt
KEPT = 256  # past requests that a request is held against, at most
NEIGHBOURS = 4  # a prediction is never taken to be surer than the distance to so many past lengths
REMEMBERED = 4_096  # predictions


class Error(NamedTuple):
    """What log predictions are of log lengths: `bias` + `slope` · log length, and normal errors of SD `sd`."""

    bias: float
    slope: float
    sd: float


class Spread(NamedTuple):
    """Variance of tokens a round: of one round in a request, and of long stretches of a request, about its mean."""

    round: float
    stretch: float


class Kin(NamedTuple):
    """Those of the past that requests of one prediction are held against, by ascending length, (M,) each.

    Attributes
    ----------
    lengths : list of int
    tokens, tokens_per_round, rounds_per_token : arrays
        Output tokens, and how they came.
    log_weight : array
        How likely each is, given the prediction alone.
    """

    lengths: list[int]
    tokens: Floats
    tokens_per_round: Floats
    rounds_per_token: Floats
    log_weight: Floats


def no_integers() -> Integers:
    """An empty array."""
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Past:
    """N requests that are done.

    Attributes
    ----------
    predicted_tokens, tokens, rounds : int64 arrays (N,)
        Predicted and true output length, and decoding rounds, each at least 1.
    early_tokens : int64 array (N,)
        Output tokens of the first `rounds // 2` rounds.
    """

    predicted_tokens: Integers = field(default_factory=no_integers)
    tokens: Integers = field(default_factory=no_integers)
    rounds: Integers = field(default_factory=no_integers)
    early_tokens: Integers = field(default_factory=no_integers)
    _kin: dict[int, Kin] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def tokens_per_round(self) -> float:
        """Tokens over rounds, of all; 1 if there are none."""
        return float(self.tokens.sum() / self.rounds.sum()) if len(self) else 1.0

    @cached_property
    def error(self) -> Error:
        """Of predictions, by least squares over the pairs of log length and log prediction."""
        logs, predicted = np.log(self.tokens), np.log(self.predicted_tokens)
        around = logs - logs.mean()
        variance = float((around**2).mean())
        slope = float((around * predicted).mean()) / variance if variance else 0.0
        bias = float(predicted.mean() - slope * logs.mean())
        freedom = max(1, len(self) - 2)
        return Error(bias, slope, math.sqrt(float(((predicted - bias - slope * logs) ** 2).sum()) / freedom))

    @cached_property
    def spread(self) -> Spread:
        """Of tokens a round, from the two halves of each past request that has at least two rounds.

        Their means differ with variance `round` · (1 / h + 1 / (R − h)) + 2 · `stretch`, h the rounds of the first.
        """
        two = self.rounds >= 2
        early, rounds = self.rounds[two] // 2, self.rounds[two]
        if len(rounds) < FEW:
            return Spread(1.0, 0.0)
        first = self.early_tokens[two] / early
        rest = (self.tokens[two] - self.early_tokens[two]) / (rounds - early)
        squares, shares = (first - rest) ** 2, 1 / early + 1 / (rounds - early)
        slope, level = np.polyfit(shares, squares, 1, w=1 / shares)
        level = max(0.0, float(level))
        slope = max(1e-6, float(((squares - level) / shares).mean()) if level == 0 else float(slope))
        return Spread(slope, level / 2)

    @cached_property
    def _ascending(self) -> tuple[Floats, Floats, Floats]:
        order = np.argsort(self.tokens, kind="stable")
        tokens = self.tokens[order].astype(float)
        per_round = tokens / self.rounds[order]
        return tokens, per_round, np.log(tokens)

    def left(self, predicted_tokens: int, tokens: int, rounds: int) -> tuple[Floats, Floats]:
        """Rounds that a request has left: of each past one that it may be like, and how likely that one is.

        Of those longer than `tokens`; both empty if there is none. O(KEPT).

        Parameters
        ----------
        tokens, rounds : what it has had.
        """
        lengths, outputs, per_round, rounds_per_token, weight = self.kin(predicted_tokens)
        longer = bisect_right(lengths, tokens)
        if longer == len(lengths):
            return outputs[:0], outputs[:0]
        weight = weight[longer:]
        if rounds:
            off = per_round[longer:] - tokens / rounds
            off *= off
            off *= -0.5 / (self.spread.round / rounds + self.spread.stretch)
            off += weight
            weight = off
        weight = np.exp(weight - weight.max())
        return (outputs[longer:] - tokens) * rounds_per_token[longer:], weight

    def kin(self, predicted_tokens: int) -> Kin:
        """Whom a request of that prediction is held against; the latest answers are kept. O(KEPT + log N)."""
        found = self._kin.get(predicted_tokens)
        if found is None:
            if len(self._kin) >= REMEMBERED:
                self._kin.clear()
            found = self._kin[predicted_tokens] = self._weighed(math.log(predicted_tokens))
        return found

    def _weighed(self, predicted: float) -> Kin:
        """Weights of log prediction `predicted`: its likelihood given each one's length, by the learnt error."""
        tokens, per_round, logs = self._ascending
        bias, slope, sd = self.error
        middle = (predicted - bias) / slope if slope > 0.01 else float(logs.mean())
        rows, stands_for = around(int(np.searchsorted(logs, middle)), len(self))
        logs, tokens, per_round = logs[rows], tokens[rows], per_round[rows]
        weight = np.log(stands_for)
        if sd > 0 or slope > 0.01:
            off = predicted - bias - slope * logs
            reach = float(np.partition(np.abs(off), min(NEIGHBOURS, len(off) - 1))[min(NEIGHBOURS, len(off) - 1)])
            weight = weight - off**2 / (2 * max(sd**2 + reach**2, 1e-12))
        return Kin([int(t) for t in tokens], tokens, per_round, 1 / per_round, weight)


def around(middle: int, count: int) -> tuple[Integers, Floats]:
    """At most `KEPT` of 0..count−1, close to `middle` all and farther off ever fewer, and how many each stands for."""
    if count <= KEPT:
        return np.arange(count), np.ones(count)
    steps = np.unique(np.geomspace(1, count, KEPT // 2).astype(np.int64))
    rows = np.concatenate([middle - steps[::-1], [middle], middle + steps])
    rows = rows[(rows >= 0) & (rows < count)]
    edges = np.concatenate([[0], (rows[1:] + rows[:-1] + 1) // 2, [count]])
    return rows, np.diff(edges).astype(float)
