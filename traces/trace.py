"""Acceptance traces: drafted and accepted tokens of each round, one row per request.

In memory, the rounds of all requests lie in two flat arrays with offsets, so that the rounds of one
request are a slice. This module knows nothing of the checks of rows (`lapsd.traces.invariants`), of
files (`lapsd.traces.files.trace_file`), time, policies or models.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.traces.bounds import MOST_TOKENS
from lapsd.traces.prefixes import Prefixes
from lapsd.traces.provenance import Provenance

COLUMNS = ("request_id", "dataset", "prompt_tokens", "output_tokens", "drafted", "accepted")
POSITION_COLUMNS = ("acceptable", "accept_prob", "draft_prob")  # optional
PREFIX_HASHES = "prefix_hashes"  # optional
# the column of the prediction LEARNED, and the prefix of the columns of other predictions
PREDICTION = "predicted_tokens"
MOST_NAMES = 20  # of data sets in a message
LEARNED = "learned"  # the prediction that a trace was recorded with
"""Name of the column of predicted lengths that a trace was recorded with: str.

Examples
--------
>>> import lapsd
>>> from lapsd.traces import LEARNED
>>> LEARNED in lapsd.load_trace("reference").predictions
True
"""


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests and their rounds.

    Attributes
    ----------
    request_id, dataset : sequences of str, length R
    prompt_tokens, output_tokens : int64 arrays (R,)
    offsets : int64 array (R + 1,)
        The rounds of request i are `offsets[i]:offsets[i + 1]` of the two flat arrays.
    drafted, accepted : int64 arrays (rounds of all requests,)
        Draft tokens proposed in a round, and the number of them that became part of the output.
    predictions : mapping of name to int64 array (R,)
        Predicted output lengths; `learned` is the prediction that the trace was recorded with.
    acceptable : int64 array (output tokens of all requests,) or None
        Per output position, the number of consecutive greedy proposals of the draft from that
        position on that equal the output's tokens.
    accept_prob : float32 array (output tokens of all requests,) or None
        Per output position, the probability that a proposal at that position was accepted, given
        the output.
    draft_prob : float32 array (output tokens of all requests,) or None
        Per output position, the probability that the draft model itself gave to its proposal there:
        known to a server before the verification.
    prefixes : Prefixes or None
        Hashes of the leading blocks of the prompts.
    provenance : Provenance
        Where the trace comes from.

    Examples
    --------
    >>> import lapsd
    >>> trace = lapsd.load_trace("reference")
    >>> trace.datasets
    ['code', 'prose', 'arithmetic']
    >>> code = trace.only("code")
    >>> len(code.request_id), round(float(code.acceptance.mean()), 2)
    (200, 0.61)
    """

    request_id: Sequence[str]
    dataset: Sequence[str]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    offsets: NDArray[np.int64]
    drafted: NDArray[np.int64]
    accepted: NDArray[np.int64]
    predictions: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    acceptable: NDArray[np.int64] | None = None
    accept_prob: NDArray[np.float32] | None = None
    draft_prob: NDArray[np.float32] | None = None
    prefixes: Prefixes | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __len__(self) -> int:
        return len(self.request_id)

    @property
    def rounds(self) -> NDArray[np.int64]:
        """Number of rounds of each request, (R,)."""
        return np.diff(self.offsets)

    @property
    def acceptance(self) -> NDArray[np.float64]:
        """Accepted / drafted tokens of each request, (R,); 0 for a request without drafts."""
        return np.asarray(
            self.per_request(self.accepted) / np.maximum(self.per_request(self.drafted), 1)
        )

    @property
    def output_offsets(self) -> NDArray[np.int64]:
        """Offsets of the requests' output positions in the position columns, (R + 1,)."""
        return np.append(0, np.cumsum(self.output_tokens))

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, in order of appearance."""
        return list(dict.fromkeys(self.dataset))

    @property
    def predicted_tokens(self) -> NDArray[np.int64] | None:
        """The prediction that the trace was recorded with, (R,), or None."""
        return self.predictions.get(LEARNED)

    def with_prediction(self, name: str, tokens: Sequence[int] | NDArray[np.int64]) -> "Trace":
        """Return the trace with one more prediction, for the length predictor `column:NAME`.

        Parameters
        ----------
        name : str
            Letters, digits, `_`, `.` and `-`.
        tokens : Sequence[int] or int64 array
            Predicted output lengths, (R,), each from 1 to 2**31 - 1.

        Raises
        ------
        ValueError
            If the name has other characters, or the lengths are not R such whole numbers.
        """
        lengths = np.asarray(tokens)
        if (
            lengths.shape != (len(self),)
            or lengths.dtype.kind not in "iu"
            or (len(lengths) and not 1 <= lengths.min() <= lengths.max() <= MOST_TOKENS)
        ):
            raise ValueError(
                f"prediction {name!r}: needs a whole number from 1 to {MOST_TOKENS} for each of"
                f" {len(self)} requests"
            )
        return replace(
            self, predictions={**self.predictions, _checked_name(name): lengths.astype(np.int64)}
        )

    def per_request(self, flat: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sums of a per-round array over each request, (R,)."""
        return np.add.reduceat(flat, self.offsets[:-1])

    def rounds_of(self, row: int) -> slice:
        """Return the slice of the flat arrays that holds the rounds of request `row`."""
        return slice(int(self.offsets[row]), int(self.offsets[row + 1]))

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Trace":
        """Return the trace of some of the requests, in the given order.

        Raises
        ------
        ValueError
            If `rows` is no list of whole numbers.
        """
        given = np.asarray(rows)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise ValueError(f"rows: needs a list of whole numbers, not {rows!r}")
        rows = given.astype(np.int64)
        flat, positions = _spans(self.offsets, rows), _spans(self.output_offsets, rows)
        return Trace(
            request_id=[self.request_id[r] for r in rows],
            dataset=[self.dataset[r] for r in rows],
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            offsets=np.concatenate([[0], np.cumsum(self.rounds[rows])]).astype(np.int64),
            drafted=self.drafted[flat],
            accepted=self.accepted[flat],
            predictions={name: tokens[rows] for name, tokens in self.predictions.items()},
            acceptable=None if self.acceptable is None else self.acceptable[positions],
            accept_prob=None if self.accept_prob is None else self.accept_prob[positions],
            draft_prob=None if self.draft_prob is None else self.draft_prob[positions],
            prefixes=None if self.prefixes is None else self.prefixes.take(rows),
            provenance=self.provenance,
        )

    def only(self, dataset: str) -> "Trace":
        """Return the requests of one data set.

        Raises
        ------
        ValueError
            If the trace has no such data set.
        """
        rows = [i for i, name in enumerate(self.dataset) if name == dataset]
        if not rows:
            raise self.has_not(dataset)
        return self.take(rows)

    def has_not(self, dataset: str) -> ValueError:
        """Return the error that the trace has no such data set; it names some that it has."""
        names = self.datasets[:MOST_NAMES]
        more = len(self.datasets) - len(names)
        known = ", ".join(names) + (f" and {more} others" if more else "")
        return ValueError(f"dataset {dataset!r}: the trace holds {known}")

    def split(self, split_seed: int = 0) -> tuple["Trace", "Trace"]:
        """Return a training half and a test half, split by request, each in the trace's order.

        With hashes of prompts the training half is the first half of the trace, so that requests
        that share a prefix stay together, in their order; `split_seed` is then not used.

        Raises
        ------
        ValueError
            If there are fewer than two requests.
        """
        if len(self) < 2:
            raise ValueError(
                f"a trace of {len(self)} request cannot be split into halves: at least 2 are needed"
            )
        middle = len(self) // 2
        order = (
            np.random.default_rng([split_seed, 0]).permutation(len(self))
            if self.prefixes is None
            else np.arange(len(self))
        )
        return self.take(np.sort(order[:middle])), self.take(np.sort(order[middle:]))


def prediction_column(name: str) -> str:
    """Return the name of the file column that holds a prediction."""
    return PREDICTION if name == LEARNED else f"{PREDICTION}:{name}"


def prediction_name(column: str) -> str | None:
    """Return the name of the prediction that a file column holds, or None if it holds none.

    Raises
    ------
    ValueError
        If the name has characters other than letters, digits, `_`, `.` and `-`.
    """
    if column == PREDICTION:
        return LEARNED
    return (
        _checked_name(column.removeprefix(f"{PREDICTION}:"))
        if column.startswith(f"{PREDICTION}:")
        else None
    )


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
        raise ValueError(f"prediction {name[:100]!r}: use only letters, digits, '_', '.' and '-'")
    return name


def _spans(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the flat indices of some rows, one row after the other."""
    spans = [np.arange(offsets[r], offsets[r + 1]) for r in rows]
    return np.concatenate(spans) if spans else np.zeros(0, np.int64)


def to_frame(trace: Trace) -> pd.DataFrame:
    """Return a DataFrame with one row per request.

    Its columns are the scalar columns of the trace, `rounds`, `acceptance` (accepted / drafted) and
    the predictions.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.

    Examples
    --------
    >>> import lapsd
    >>> frame = lapsd.to_frame(lapsd.load_trace("reference"))
    >>> frame[["dataset", "output_tokens", "rounds"]].head(2)
      dataset  output_tokens  rounds
    0    code            312     141
    1   prose             15       9
    """
    frame = pd.DataFrame(
        {
            "request_id": list(trace.request_id),
            "dataset": list(trace.dataset),
            "prompt_tokens": trace.prompt_tokens,
            "output_tokens": trace.output_tokens,
            "rounds": trace.rounds,
        }
    )
    frame["acceptance"] = trace.acceptance
    for prediction, tokens in trace.predictions.items():
        frame[prediction_column(prediction)] = tokens
    return frame
