"""Past requests, and how likely a running request is to turn out like each of them.

This module knows nothing of ranks or of the server. `docs/results/kernel-gittins.md` derives its
formulas.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.remaining_rounds import remaining_rounds

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_HISTORY = 8  # a history of fewer requests is not used
MAX_NEIGHBOURS = 300  # a request is compared with at most so many past requests
REACH = 3.0  # of more past requests, take those within so many bandwidths of the prediction
MIN_NEIGHBOURS = 4  # a bandwidth reaches at least so many past predictions
CACHED_PREDICTIONS = 4_096  # neighbours are kept for so many predicted lengths

# the choice of bandwidths, by leaving out past requests
BANDWIDTH_SAMPLE = 1_024  # past requests used
LEFT_OUT = 128  # past requests predicted from the others
PREDICTION_FACTORS = (0.0, 0.1, 0.3, 1.0)  # times the standard deviation of log predictions
PACE_FACTORS = (0.0, 0.1, 1.0, math.inf)  # times the variance of log paces
MIN_DENSITY_WIDTH = 0.05  # of the kernel over log rounds
MIN_DENSITY = 1e-4  # so that one odd request does not decide

MEDIAN_SQUARE = 0.455  # median of the square of a standard normal variable
MIN_VARIANCE = 0.01
MIN_SQUARED_DISTANCE = 1e-12

NO_FLOATS = np.zeros(0)

A = TypeVar("A", bound=np.dtype[Any])


class Bandwidths(NamedTuple):
    """How different past requests may be that still count as similar.

    Attributes
    ----------
    prediction : float
        Standard deviation of the kernel over log predicted lengths; inf: predictions are not used.
    pace : float
        Variance of log paces between similar requests, added to `PaceVariance`; inf: paces are not
        used.
    """

    prediction: float
    pace: float


UNINFORMATIVE = Bandwidths(math.inf, math.inf)


class PaceVariance(NamedTuple):
    """Variance of the log of the pace, in tokens per round, of one request.

    Attributes
    ----------
    per_round : float
        Variance of a single round; the mean of n rounds has `per_round` / n.
    long_run : float
        Variance of long stretches of a request around its own mean, however many rounds they have.
    """

    per_round: float
    long_run: float


def no_integers() -> Integers:
    """Return an empty array."""
    return np.zeros(0, dtype=np.int64)


def read_only(values: np.ndarray[Any, A]) -> np.ndarray[Any, A]:
    """Return a view of an array that cannot be written to, because several policies see it."""
    view = values.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class RequestHistory:
    """N completed requests.

    Attributes
    ----------
    predicted_tokens, tokens, rounds : int64 arrays, (N,)
        Predicted and true output length, and number of decoding rounds, each at least 1.
    early_tokens : int64 array, (N,)
        Output tokens of the first `rounds // 2` rounds.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.policies import RequestHistory
    >>> history = RequestHistory(
    ...     predicted_tokens=np.array([50, 200]),
    ...     tokens=np.array([60, 180]),
    ...     rounds=np.array([20, 60]),
    ...     early_tokens=np.array([30, 90]),
    ... )
    >>> history.tokens_per_round
    3.0
    """

    predicted_tokens: Integers = field(default_factory=no_integers)
    tokens: Integers = field(default_factory=no_integers)
    rounds: Integers = field(default_factory=no_integers)
    early_tokens: Integers = field(default_factory=no_integers)
    _neighbours: dict[int, Floats] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("predicted_tokens", "tokens", "rounds", "early_tokens"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.tokens)

    def sample(self, count: int) -> "RequestHistory":
        """Return a history of at most `count` of these requests, evenly spaced."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))
        return RequestHistory(
            self.predicted_tokens[rows],
            self.tokens[rows],
            self.rounds[rows],
            self.early_tokens[rows],
        )

    def with_more(self, completed: Sequence[tuple[int, int, int, int]]) -> "RequestHistory":
        """Return a history with more requests.

        Parameters
        ----------
        completed : sequence of tuples
            Predicted tokens, output tokens, rounds and early tokens of each request.
        """
        more = np.array(completed, dtype=np.int64).reshape(-1, 4).T
        columns = (self.predicted_tokens, self.tokens, self.rounds, self.early_tokens)
        predicted, tokens, rounds, early = (
            np.concatenate(both) for both in zip(columns, more, strict=True)
        )
        return RequestHistory(predicted, tokens, rounds, early)

    @cached_property
    def tokens_per_round(self) -> float:
        """Total tokens over total rounds; 1 without requests."""
        return float(self.tokens.sum() / self.rounds.sum()) if len(self) else 1.0

    @cached_property
    def pace_variance(self) -> PaceVariance:
        """Variance of the log pace within a request, estimated from the two halves of each.

        The log paces of the halves differ with variance `per_round` · (1 / h + 1 / (R − h)) + 2 ·
        `long_run`, where h of R rounds are in the first half. The quarter of the requests with
        the fewest rounds gives one equation, the quarter with the most another. Each uses the
        median of the squared differences, which one odd request does not change.
        """
        order = np.argsort(self.rounds, kind="stable")
        order = order[self.rounds[order] >= 2]
        if len(order) < 4 * MIN_HISTORY:
            return PaceVariance(1.0, 0.0)
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
        (short, short_square), (long, long_square) = (
            (float(np.median((1 / early + 1 / late)[part])), float(np.median(squares[part])))
            for part in (slice(quarter), slice(-quarter, None))
        )
        long_run = 0.0
        if not math.isclose(short, long):  # else the two equations are the same
            long_run = max(0.0, (long_square * short - short_square * long) / (short - long) / 2)
        return PaceVariance(max((short_square - 2 * long_run) / short, MIN_VARIANCE), long_run)

    @cached_property
    def bandwidths(self) -> Bandwidths:
        """The bandwidths with which past requests are predicted best from the other past requests.

        Each request is predicted after a quarter, half and three quarters of its rounds. The score
        is the mean log of the density that the weighted others give to the log of its remaining
        rounds. First the bandwidth over predictions is chosen from `PREDICTION_FACTORS`, without
        using paces; then that over paces from `PACE_FACTORS`.
        """
        sample = self.sample(BANDWIDTH_SAMPLE)
        rows, had_rounds, had_tokens = sample._snapshots(max(1, len(sample) // LEFT_OUT))
        if len(rows) < 4 * MIN_HISTORY:
            return Bandwidths(0.0, 0.0)
        log_pace = np.log(sample.tokens / sample.rounds)
        predicted = np.log(sample.predicted_tokens)
        others = (sample.tokens > had_tokens[:, None]) & (np.arange(len(sample)) != rows[:, None])
        by_others = np.log(np.where(others, sample.tokens - had_tokens[:, None], 1)) - log_pace
        true = np.log(sample.rounds[rows] - had_rounds)[:, None]
        width = max(
            float(np.log(sample.rounds).std()) * 1.06 * len(sample) ** -0.2, MIN_DENSITY_WIDTH
        )  # Silverman's rule
        near = np.exp(-0.5 * ((by_others - true) / width) ** 2)
        distance = (log_pace - np.log(had_tokens / had_rounds)[:, None]) ** 2
        within = self.pace_variance
        variance = (within.per_round / had_rounds + within.long_run)[:, None]

        def score(prediction: float, pace: float) -> float:
            log_weight = log_kernel(predicted[rows], predicted, prediction)
            log_weight = log_weight - 0.5 * distance / (variance + pace)
            log_weight = np.where(others, log_weight, -np.inf)
            weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
            density = (weight * near).sum(axis=1) / weight.sum(axis=1)
            return float(np.log(density + MIN_DENSITY).mean())

        predictions = [math.inf]
        if np.ptp(predicted):
            predictions = scaled(PREDICTION_FACTORS, float(predicted.std()))
        paces = scaled(PACE_FACTORS, float(log_pace.var()))
        prediction = max(predictions, key=lambda prediction: score(prediction, math.inf))
        return Bandwidths(prediction, max(paces, key=lambda pace: score(prediction, pace)))

    def _snapshots(self, step: int) -> tuple[Integers, Integers, Integers]:
        """Return the state of every `step`th request after each quarter of its rounds: its row,
        and its rounds and tokens by then.

        Within each half, tokens are assumed to come evenly. A state is left out if no other request
        is longer.
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
        """Log predictions in ascending order, and the rows of their requests, (N,) both.

        Requests of equal predictions are sorted by length.
        """
        order = np.lexsort((self.tokens, self.predicted_tokens))
        return np.log(self.predicted_tokens[order]), order

    def remaining_rounds(
        self, predicted_tokens: int, tokens: int, rounds: int
    ) -> tuple[Floats, Floats]:
        """Return the distribution of the remaining rounds of a request: values and weights.

        Each value comes from a similar past request that is longer than `tokens`. If neither
        predictions nor paces are informative, it comes from a past request with more rounds than
        `rounds`. Both arrays are empty if there is no such request, or fewer than `MIN_HISTORY`
        past requests. O(MAX_NEIGHBOURS).

        Parameters
        ----------
        predicted_tokens : int
            Predicted output length of the request.
        tokens, rounds : int
            Output tokens and rounds that the request has had so far.
        """
        if len(self) < MIN_HISTORY:
            return NO_FLOATS, NO_FLOATS
        within, between = self.pace_variance, self.bandwidths
        return remaining_rounds(
            self.neighbours(predicted_tokens),
            tokens,
            rounds,
            between.pace,
            within.per_round,
            within.long_run,
            between == UNINFORMATIVE,
        )

    def length_distribution(self, predicted_tokens: int) -> tuple[Floats, Floats]:
        """Return output lengths in ascending order, and their probabilities given the prediction,
        (M,) both.

        With fewer than `MIN_HISTORY` past requests, return only the prediction itself.
        """
        if len(self) < MIN_HISTORY:
            return np.array([float(predicted_tokens)]), np.ones(1)
        tokens, _, _, log_weight = self.neighbours(predicted_tokens)
        weight = np.exp(log_weight - log_weight.max())
        return tokens, weight / weight.sum()

    def neighbours(self, predicted_tokens: int) -> Floats:
        """Return the M past requests that a request of this prediction is compared with, by
        ascending length, as the rows of an array (4, M).

        The rows are their output tokens, logs of tokens per round, rounds per token, and logs of
        weights by their predicted lengths alone. Results are cached. O(MAX_NEIGHBOURS + log N).
        """
        neighbours = self._neighbours.get(predicted_tokens)
        if neighbours is None:
            if len(self._neighbours) >= CACHED_PREDICTIONS:
                self._neighbours.clear()
            neighbours = read_only(self._find_neighbours(math.log(predicted_tokens)))
            self._neighbours[predicted_tokens] = neighbours
        return neighbours

    def _find_neighbours(self, predicted: float) -> Floats:
        """Return the past requests compared with the log prediction `predicted`, and the weight of
        each by the distance of its own log prediction.
        """
        logs, rows = self._by_prediction
        width = self.bandwidths.prediction
        if len(rows) > MAX_NEIGHBOURS:
            first = int(np.searchsorted(logs, predicted - REACH * width, "left"))
            last = int(np.searchsorted(logs, predicted + REACH * width, "right"))
            first, last = (
                max(0, min(first, last - MAX_NEIGHBOURS)),
                min(len(rows), max(last, first + MAX_NEIGHBOURS)),
            )
            kept = np.unique(np.linspace(first, last - 1, MAX_NEIGHBOURS).astype(np.int64))
            logs, rows = logs[kept], rows[kept]
        weight = log_kernel(np.array([predicted]), logs, width)[0]
        order = np.argsort(self.tokens[rows], kind="stable")
        rows, weight = rows[order], weight[order]
        tokens = self.tokens[rows].astype(float)
        rounds_per_token = self.rounds[rows] / tokens
        return np.array([tokens, -np.log(rounds_per_token), rounds_per_token, weight])


def log_kernel(predicted: Floats, past: Floats, width: float) -> Floats:
    """Return the log weight of each past log prediction, (M,), for each log prediction, (P,), as
    (P, M).

    The kernel is Gaussian. Its standard deviation is `width`, or the distance to the fourth nearest
    past prediction (`MIN_NEIGHBOURS`) if that is larger.
    """
    if width == math.inf:
        return np.zeros((len(predicted), len(past)))
    squares = (predicted[:, None] - past) ** 2
    nearest = min(MIN_NEIGHBOURS, len(past)) - 1
    closest = np.partition(squares, nearest, axis=1)[:, nearest, None]
    return np.asarray(
        -squares / (2 * np.maximum(np.maximum(width**2, closest), MIN_SQUARED_DISTANCE))
    )


def scaled(factors: Sequence[float], by: float) -> list[float]:
    """Return each factor times `by`, which may be 0; an infinite factor stays infinite."""
    return [factor if math.isinf(factor) else factor * by for factor in factors]
