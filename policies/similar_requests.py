"""The past requests that each request of a run is compared with, in the form that ranks need."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.remaining_rounds import remaining_rounds
from lapsd.policies.request_history import (
    MAX_NEIGHBOURS,
    MIN_HISTORY,
    UNINFORMATIVE,
    RequestHistory,
)

Floats = NDArray[np.float64]


@dataclass(eq=False)
class SimilarRequests:
    """The past requests that each request of a run is compared with, as rows of one array.

    Attributes
    ----------
    history : RequestHistory
        All past requests.
    past : array, (4 · capacity, MAX_NEIGHBOURS)
        Rows 4i to 4i + 3 are those of `remaining_rounds` for the i-th predicted length.
    counts : int64 array, (capacity,)
        Number of past requests of each.
    known : dict
        The number i of each predicted length.
    pace, per_round, long_run : float
    uninformative : bool
        As in `remaining_rounds`.
    """

    history: RequestHistory
    past: Floats = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    known: dict[int, int] = field(default_factory=dict)
    pace: float = math.inf
    per_round: float = 1.0
    long_run: float = 0.0
    uninformative: bool = True

    def __post_init__(self) -> None:
        self.past = np.zeros((4, MAX_NEIGHBOURS))
        self.counts = np.zeros(1, dtype=np.int64)
        if len(self.history) >= MIN_HISTORY:
            self.pace = self.history.bandwidths.pace
            self.per_round, self.long_run = self.history.pace_variance
            self.uninformative = self.history.bandwidths == UNINFORMATIVE

    def number_of(self, predicted_tokens: int) -> int:
        """Return the number of a predicted length, and add it if it is new."""
        number = self.known.get(predicted_tokens)
        if number is None:
            number = self.known[predicted_tokens] = len(self.known)
            if number == len(self.counts):
                self.past = np.concatenate([self.past, np.zeros_like(self.past)])
                self.counts = np.concatenate([self.counts, np.zeros_like(self.counts)])
            if len(self.history) >= MIN_HISTORY:  # else it has none
                rows = self.history.neighbours(predicted_tokens)
                self.counts[number] = rows.shape[1]
                self.past[4 * number : 4 * number + 4, : rows.shape[1]] = rows
        return number

    def remaining_rounds(self, number: int, tokens: int, rounds: int) -> tuple[Floats, Floats]:
        """Return the distribution of the remaining rounds of a request whose predicted length has
        this number: see `remaining_rounds`.
        """
        past = self.past[4 * number : 4 * number + 4, : self.counts[number]]
        return remaining_rounds(
            past, tokens, rounds, self.pace, self.per_round, self.long_run, self.uninformative
        )
