"""Past requests, and what they say of one like them: how long each is likely to be the one that this request is like.

Knows nothing of ranks or of the server. `docs/beyond.md` derives it.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEW = 8  # fewer past requests tell nothing
EXACT = 512  # past requests that are all held against a request
KEPT = 256  # of more than those, so many
NEIGHBOURS = 4  # a prediction is never taken to be surer than the distance to so many past lengths
MEDIAN_SQUARE = 0.455  # of a standard normal
LEAST_VARIANCE = 0.01
LEAST_SLOPE = 0.01  # predictions of less tell nothing
LEAST_ERROR = 1e-12
LEAST_LOG = -50.0  # of a weight over the largest
REMEMBERED = 4_096  # predictions

NO_FLOATS = np.zeros(0)


class Error(NamedTuple):
    """What log predictions are of log lengths: `bias` + `slope` · log length, and normal errors of SD `sd`."""

    bias: float
    slope: float
    sd: float


class Pace(NamedTuple):
    """Variance of the log of tokens a round: of one round in a request, and of long stretches, about its own mean."""

    round: float
    stretch: float


class Kin(NamedTuple):
    """Those of the past that requests of one prediction are held against, by ascending length, (M,) each.

    Attributes
    ----------
    lengths : list of int
    tokens, log_pace, rounds_per_token : arrays
        Output tokens, log of tokens a round, and rounds a token.
    log_weight : array
        How likely each is, given the prediction alone.
    """

    lengths: list[int]
    tokens: Floats
    log_pace: Floats
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
    _kin: dict[int, Kin] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    def some(self, count: int) -> "Past":
        """At most so many of them, evenly spread."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))
        return Past(self.predicted_tokens[rows], self.tokens[rows], self.rounds[rows], self.early_tokens[rows])

    def with_more(self, done: Sequence[tuple[int, int, int, int]]) -> "Past":
        """With more requests: of each predicted and output tokens, rounds, and early tokens."""
        more = np.array(done, dtype=np.int64).reshape(-1, 4).T
        columns = (self.predicted_tokens, self.tokens, self.rounds, self.early_tokens)
        predicted, tokens, rounds, early = (np.concatenate(both) for both in zip(columns, more, strict=True))
        return Past(predicted, tokens, rounds, early)

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
    def pace(self) -> Pace:
        """From the two halves of each past request: their log paces differ with variance

        `round` · (1 / h + 1 / (R − h)) + 2 · `stretch`, h the rounds of the first of R. The shortest quarter and the
        longest give an equation each, by the median square, which an odd request does not move.
        """
        order = np.argsort(self.rounds, kind="stable")
        order = order[self.rounds[order] >= 2]
        if len(order) < 4 * FEW:
            return Pace(1.0, 0.0)
        early, rounds, tokens = self.rounds[order] // 2, self.rounds[order], self.early_tokens[order]
        late = rounds - early
        squares = (np.log(tokens / early) - np.log((self.tokens[order] - tokens) / late)) ** 2 / MEDIAN_SQUARE
        quarter = len(order) // 4
        (short, brief), (long, lasting) = (
            (float(np.median((1 / early + 1 / late)[some])), float(np.median(squares[some])))
            for some in (slice(quarter), slice(-quarter, None))
        )
        stretch = max(0.0, (lasting * short - brief * long) / max(short - long, 1e-9) / 2) if short > long else 0.0
        return Pace(max((brief - 2 * stretch) / short, LEAST_VARIANCE), stretch)

    @cached_property
    def _ascending(self) -> tuple[list[int], Floats, Floats, Floats, Floats]:
        """By length: lengths, as floats too, log paces, rounds a token, log lengths, (N,) each."""
        order = np.argsort(self.tokens, kind="stable")
        lengths, tokens = self.tokens[order].tolist(), self.tokens[order].astype(float)
        rounds_per_token = self.rounds[order] / tokens
        return lengths, tokens, -np.log(rounds_per_token), rounds_per_token, np.log(tokens)

    def left(self, predicted_tokens: int, tokens: int, rounds: int) -> tuple[Floats, Floats]:
        """Rounds that a request has left: of each past one that it may be like, and how likely that one is.

        Of those longer than `tokens`; both empty if there is none, or the past is of fewer than `FEW`. O(KEPT).

        Parameters
        ----------
        tokens, rounds : what it has had.
        """
        if len(self) < FEW:
            return NO_FLOATS, NO_FLOATS
        lengths, outputs, log_pace, rounds_per_token, weight = self.kin(predicted_tokens)
        longer = bisect_right(lengths, tokens)
        if longer == len(lengths):
            return NO_FLOATS, NO_FLOATS
        weight = weight[longer:]
        if rounds:
            off = log_pace[longer:] - math.log(tokens / rounds)
            off *= off
            off *= -0.5 / (self.pace.round / rounds + self.pace.stretch)
            off += weight
            weight = off
        weight = np.exp(np.maximum(weight - weight.max(), LEAST_LOG))
        return (outputs[longer:] - tokens) * rounds_per_token[longer:], weight

    def lengths(self, predicted_tokens: int) -> tuple[Floats, Floats]:
        """Output lengths, ascending, and how likely each is, given the prediction alone: (M,) both, M at least 1.

        The prediction itself, if the past is of fewer than `FEW`.
        """
        if len(self) < FEW:
            return np.array([float(predicted_tokens)]), np.ones(1)
        kin = self.kin(predicted_tokens)
        weight = np.exp(kin.log_weight - kin.log_weight.max())
        return kin.tokens, weight / weight.sum()

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
        lengths, tokens, log_pace, rounds_per_token, logs = self._ascending
        bias, slope, sd = self.error
        informs = abs(slope) > LEAST_SLOPE
        weight = np.zeros(len(logs))
        if len(logs) > EXACT:
            middle = (predicted - bias) / slope if informs else float(logs.mean())
            rows, stands_for = around(int(np.searchsorted(logs, middle)), len(logs))
            logs, weight = logs[rows], np.log(stands_for)
            lengths, tokens = [lengths[row] for row in rows.tolist()], tokens[rows]
            log_pace, rounds_per_token = log_pace[rows], rounds_per_token[rows]
        if informs:
            off = predicted - bias - slope * logs
            off *= off
            nearest = min(NEIGHBOURS, len(off)) - 1
            weight = weight - off / (2 * max(sd**2 + float(np.partition(off, nearest)[nearest]), LEAST_ERROR))
        return Kin(lengths, tokens, log_pace, rounds_per_token, weight)


def around(middle: int, count: int) -> tuple[Integers, Floats]:
    """`KEPT` of 0..count−1, close to `middle` all and farther off ever fewer, and how many each stands for."""
    steps = _steps(count)
    rows = np.concatenate([middle - steps[::-1], [middle], middle + steps])
    rows = rows[(rows >= 0) & (rows < count)]
    edges = np.concatenate([[0], (rows[1:] + rows[:-1] + 1) // 2, [count]])
    return rows, np.diff(edges).astype(float)


@lru_cache(maxsize=64)
def _steps(count: int) -> Integers:
    return np.unique(np.geomspace(1, count, KEPT // 2).astype(np.int64))
