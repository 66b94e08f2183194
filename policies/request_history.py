"""Past requests, and what they say of one like them: how long each is likely to be the one that
this request is like.

Knows nothing of ranks or of the server. `docs/beyond.md` derives it.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEW = 8  # fewer past requests tell nothing
EXACT = 300  # past requests that are all held against a request
TOLD_BY = 1_024  # past requests that say how far apart are alike
REACH = 3.0  # widths, from where so many are taken where there are more
NEIGHBOURS = 4  # no width is less than the distance to so many past predictions
MEDIAN_SQUARE = 0.455  # of a standard normal
LEAST_VARIANCE = 0.01
LEAST_ERROR = 1e-12
LEAST_LOG = -50.0  # of a weight over the largest
WIDTHS = (0.0, 0.1, 0.3, 1.0)  # times the SD of log predictions
DOUBTS = (0.0, 0.1, 1.0, math.inf)  # times the variance of log paces
LEFT_OUT = 128  # past requests that choose among those
LEAST_WIDTH = 0.05  # of a kernel over log rounds
LEAST_DENSITY = 1e-4  # of what is left, so that one odd request does not choose
REMEMBERED = 4_096  # predictions

NO_FLOATS = np.zeros(0)


class Likeness(NamedTuple):
    """How far apart requests may be that are alike.

    Attributes
    ----------
    width : float
        SD of log predictions; inf: predictions tell nothing.
    doubt : float
        Variance of log paces beside what `Pace` says; inf: paces tell nothing.
    """

    width: float
    doubt: float


NOTHING = Likeness(math.inf, math.inf)


class Pace(NamedTuple):
    """Variance of the log of tokens a round: of one round in a request, and of long stretches,
    about its own mean.
    """

    round: float
    stretch: float


class Kin(NamedTuple):
    """Those of the past that requests of one prediction are held against, by ascending length, (M,)
    each.

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
class RequestHistory:
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

    def some(self, count: int) -> "RequestHistory":
        """At most so many of them, evenly spread."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))
        return RequestHistory(
            self.predicted_tokens[rows],
            self.tokens[rows],
            self.rounds[rows],
            self.early_tokens[rows],
        )

    def with_more(self, done: Sequence[tuple[int, int, int, int]]) -> "RequestHistory":
        """With more requests: of each predicted and output tokens, rounds, and early tokens."""
        more = np.array(done, dtype=np.int64).reshape(-1, 4).T
        columns = (self.predicted_tokens, self.tokens, self.rounds, self.early_tokens)
        predicted, tokens, rounds, early = (
            np.concatenate(both) for both in zip(columns, more, strict=True)
        )
        return RequestHistory(predicted, tokens, rounds, early)

    @cached_property
    def tokens_per_round(self) -> float:
        """Tokens over rounds, of all; 1 if there are none."""
        return float(self.tokens.sum() / self.rounds.sum()) if len(self) else 1.0

    @cached_property
    def pace(self) -> Pace:
        """From the two halves of each past request: their log paces differ with variance

        `round` · (1 / h + 1 / (R − h)) + 2 · `stretch`, h the rounds of the first of R. The
        shortest quarter and the longest give an equation each, by the median square, which an odd
        request does not move.
        """
        order = np.argsort(self.rounds, kind="stable")
        order = order[self.rounds[order] >= 2]
        if len(order) < 4 * FEW:
            return Pace(1.0, 0.0)
        early, rounds, tokens = (
            self.rounds[order] // 2,
            self.rounds[order],
            self.early_tokens[order],
        )
        late = rounds - early
        squares = (
            np.log(tokens / early) - np.log((self.tokens[order] - tokens) / late)
        ) ** 2 / MEDIAN_SQUARE
        quarter = len(order) // 4
        (short, brief), (long, lasting) = (
            (float(np.median((1 / early + 1 / late)[some])), float(np.median(squares[some])))
            for some in (slice(quarter), slice(-quarter, None))
        )
        alike = math.isclose(short, long)  # one equation for the two
        stretch = 0.0 if alike else max(0.0, (lasting * short - brief * long) / (short - long) / 2)
        return Pace(max((brief - 2 * stretch) / short, LEAST_VARIANCE), stretch)

    @cached_property
    def likeness(self) -> Likeness:
        """At which past requests, each left out, are foretold best by the others.

        After a quarter, half and three quarters of their rounds: by the log density, among those
        weighed, of the log of the rounds left. The width of `WIDTHS` first, where paces tell
        nothing, and with it the doubt of `DOUBTS`.
        """
        some = self.some(TOLD_BY)
        rows, had_rounds, had = some._on_the_way(max(1, len(some) // LEFT_OUT))
        if len(rows) < 4 * FEW:
            return Likeness(0.0, 0.0)
        log_pace, predicted = np.log(some.tokens / some.rounds), np.log(some.predicted_tokens)
        others = (some.tokens > had[:, None]) & (np.arange(len(some)) != rows[:, None])
        foretold = np.log(np.where(others, some.tokens - had[:, None], 1)) - log_pace
        truly = np.log(some.rounds[rows] - had_rounds)[:, None]
        wide = max(
            float(np.log(some.rounds).std()) * 1.06 * len(some) ** -0.2, LEAST_WIDTH
        )  # Silverman's rule
        near = np.exp(-0.5 * ((foretold - truly) / wide) ** 2)
        off = (log_pace - np.log(had / had_rounds)[:, None]) ** 2
        known = (self.pace.round / had_rounds + self.pace.stretch)[:, None]

        def score(width: float, doubt: float) -> float:
            likely = log_likely(predicted[rows], predicted, width) - 0.5 * off / (known + doubt)
            log_weight = np.where(others, likely, -np.inf)
            weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
            density = (weight * near).sum(axis=1) / weight.sum(axis=1)
            return float(np.log(density + LEAST_DENSITY).mean())

        widths = scaled(WIDTHS, float(predicted.std())) if np.ptp(predicted) else [math.inf]
        doubts = scaled(DOUBTS, float(log_pace.var()))
        width = max(widths, key=lambda width: score(width, math.inf))
        return Likeness(width, max(doubts, key=lambda doubt: score(width, doubt)))

    def _on_the_way(self, step: int) -> tuple[Integers, Integers, Integers]:
        """Every `step`th request after each quarter of its rounds: its row, and the rounds and
        tokens that it had.

        Between what is known tokens are taken to come evenly. Only where some other request is
        longer.
        """
        rows, early, late = np.arange(len(self)), self.early_tokens, self.tokens - self.early_tokens
        parts = (
            (self.rounds // 4, early // 2),
            (self.rounds // 2, early),
            (3 * self.rounds // 4, early + late // 2),
        )
        longest = np.partition(self.tokens, -2)[-2] if len(self) > 1 else 0
        had = np.concatenate([np.column_stack([rows, *part])[rows % step == 0] for part in parts])
        shorter = had[:, 2] < np.minimum(self.tokens, longest)[had[:, 0]]
        row, rounds, tokens = had[shorter & (had[:, 1:] > 0).all(axis=1)].T
        return row, rounds, tokens

    @cached_property
    def _by_prediction(self) -> tuple[Floats, Integers]:
        """Log predictions, ascending, and whose they are: among equal ones the shorter request
        first. (N,) both.
        """
        order = np.lexsort((self.tokens, self.predicted_tokens))
        return np.log(self.predicted_tokens[order]), order

    def left(self, predicted_tokens: int, tokens: int, rounds: int) -> tuple[Floats, Floats]:
        """Rounds that a request has left: of each past one that it may be like, and how likely that
        one is.

        Of those longer than `tokens`, or, where neither predictions nor paces tell anything, of
        more rounds; both empty if there is none, or the past is of fewer than `FEW`. O(EXACT).

        Parameters
        ----------
        tokens, rounds : what it has had.
        """
        if len(self) < FEW:
            return NO_FLOATS, NO_FLOATS
        lengths, outputs, log_pace, rounds_per_token, weight = self.kin(predicted_tokens)
        if self.likeness == NOTHING:
            all_rounds = outputs * rounds_per_token
            longer_ones = all_rounds > rounds + 0.5  # they are whole but for floats
            return all_rounds[longer_ones] - rounds, np.exp(weight[longer_ones])
        longer = bisect_right(lengths, tokens)
        if longer == len(lengths):
            return NO_FLOATS, NO_FLOATS
        weight = weight[longer:]
        if rounds and (doubt := self.likeness.doubt) < math.inf:
            off = log_pace[longer:] - math.log(tokens / rounds)
            off *= off
            off *= -0.5 / (self.pace.round / rounds + self.pace.stretch + doubt)
            off += weight
            weight = off
        weight = np.exp(np.maximum(weight - np.maximum.reduce(weight), LEAST_LOG))
        return (outputs[longer:] - tokens) * rounds_per_token[longer:], weight

    def lengths(self, predicted_tokens: int) -> tuple[Floats, Floats]:
        """Output lengths, ascending, and how likely each is, given the prediction alone: (M,) both,
        M at least 1.

        The prediction itself, if the past is of fewer than `FEW`.
        """
        if len(self) < FEW:
            return np.array([float(predicted_tokens)]), np.ones(1)
        kin = self.kin(predicted_tokens)
        weight = np.exp(kin.log_weight - kin.log_weight.max())
        return kin.tokens, weight / weight.sum()

    def kin(self, predicted_tokens: int) -> Kin:
        """Whom a request of that prediction is held against; the latest answers are kept.

        O(EXACT + log N).
        """
        kin = self._kin.get(predicted_tokens)
        if kin is None:
            if len(self._kin) >= REMEMBERED:
                self._kin.clear()
            kin = self._kin[predicted_tokens] = self._weighed(math.log(predicted_tokens))
        return kin

    def _weighed(self, predicted: float) -> Kin:
        """Those held against log prediction `predicted`, and how likely their own predictions are
        beside it.
        """
        logs, rows = self._by_prediction
        width = self.likeness.width
        if len(rows) > EXACT:
            reach = (predicted - REACH * width, predicted + REACH * width)
            first, last = (
                int(np.searchsorted(logs, reach[0], "left")),
                int(np.searchsorted(logs, reach[1], "right")),
            )
            first, last = max(0, min(first, last - EXACT)), min(len(rows), max(last, first + EXACT))
            kept = np.unique(np.linspace(first, last - 1, EXACT).astype(np.int64))
            logs, rows = logs[kept], rows[kept]
        weight = log_likely(np.array([predicted]), logs, width)[0]
        order = np.argsort(self.tokens[rows], kind="stable")
        rows, weight = rows[order], weight[order]
        tokens = self.tokens[rows].astype(float)
        rounds_per_token = self.rounds[rows] / tokens
        return Kin(
            self.tokens[rows].tolist(), tokens, -np.log(rounds_per_token), rounds_per_token, weight
        )


def log_likely(predicted: Floats, history: Floats, width: float) -> Floats:
    """How likely past log predictions (M,) are beside others (P,), as logs: (P, M)."""
    if width == math.inf:
        return np.zeros((len(predicted), len(history)))
    off = (predicted[:, None] - history) ** 2
    nearest = min(NEIGHBOURS, len(history)) - 1
    closest = np.partition(off, nearest, axis=1)[:, nearest, None]
    return np.asarray(-off / (2 * np.maximum(np.maximum(width**2, closest), LEAST_ERROR)))


def scaled(factors: Sequence[float], by: float) -> list[float]:
    """Each times `by`, which may be 0."""
    return [factor if math.isinf(factor) else factor * by for factor in factors]
