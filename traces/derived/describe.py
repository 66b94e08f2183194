"""Statistics of a trace's acceptance.

They are mean and standard deviation, autocorrelation of rounds, and acceptance by position in the
draft and in the output. Recorded and generated traces are compared by them. This module knows
nothing of policies: `lapsd.sim.experiment.stability` finds the rounds at which a request's
acceptance becomes perceptible.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.traces.pricing import progress
from lapsd.traces.trace import Trace

LAGS = 10
OUTPUT_EDGES = (4, 16, 64)  # tokens emitted before a round: the bins of a position in the output


@dataclass(frozen=True, eq=False)
class Rounds:
    """Properties of a trace's rounds, as arrays over the rounds of all requests.

    Attributes
    ----------
    request : row of the request
    before : tokens that the request emitted before the round
    share : accepted / drafted tokens
    tested : draft tokens compared with the target: the accepted tokens and the first rejected one
    """

    request: NDArray[np.int64]
    before: NDArray[np.int64]
    share: NDArray[np.float64]
    tested: NDArray[np.int64]


def rounds_of(trace: Trace) -> Rounds:
    """Return the properties of a trace's rounds.

    If an output ends with an accepted draft token, the remaining tokens of that draft are untested.
    """
    request = np.repeat(np.arange(len(trace)), trace.rounds)
    _, context = progress(trace)
    before = context - np.repeat(trace.prompt_tokens, trace.rounds)
    tested = np.minimum(trace.accepted + 1, trace.drafted)
    ended = trace.per_request(trace.accepted) + trace.rounds > trace.output_tokens
    last = trace.offsets[1:][ended] - 1
    tested[last] = trace.accepted[last]
    return Rounds(request, before, trace.accepted / np.maximum(trace.drafted, 1), tested)


def acceptance_by_draft_position(trace: Trace, most: int = 8) -> NDArray[np.float64]:
    """Return the probability that the j-th draft token is accepted, j = 1 to `most`, (J,).

    The probability is conditional on the acceptance of all earlier tokens of the draft.
    """
    rounds, deepest = rounds_of(trace), min(most, int(trace.drafted.max()))
    j = np.arange(1, deepest + 1)[:, None]
    tested, accepted = (rounds.tested >= j).sum(axis=1), (trace.accepted >= j).sum(axis=1)
    return np.where(tested > 0, accepted / np.maximum(tested, 1), np.nan)


def acceptance_by_output_position(trace: Trace) -> NDArray[np.float64]:
    """Return the mean share accepted, minus the request's mean, by position, (edges + 1,).

    Positions are bins of tokens emitted before the round (`OUTPUT_EDGES`). Requests with a single
    round carry no information and are excluded.
    """
    rounds = rounds_of(trace)
    deviation, several = _deviations(trace, rounds), trace.rounds[rounds.request] > 1
    bins = np.searchsorted(OUTPUT_EDGES, rounds.before, side="right")
    counts = np.bincount(bins[several], minlength=len(OUTPUT_EDGES) + 1)
    sums = np.bincount(bins[several], deviation[several], minlength=len(OUTPUT_EDGES) + 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def autocorrelation(trace: Trace, lags: int = LAGS) -> NDArray[np.float64]:
    """Return the correlation of the shares accepted within requests, at lags 1 to `lags`, (lags,).

    Shares are centred on each request's own mean. This biases the correlation, and the bias is
    corrected: requests with rounds in random order give 0 on average at every lag.
    """
    rounds = rounds_of(trace)
    deviation = _deviations(trace, rounds)
    length = trace.rounds
    squares = np.add.reduceat(deviation**2, trace.offsets[:-1])
    correlations = []
    for lag in range(1, lags + 1):
        pairs = np.maximum(length - lag, 0)
        same = rounds.request[lag:] == rounds.request[:-lag]
        together = float((deviation[lag:] * deviation[:-lag])[same].sum())
        back = float((pairs * squares / np.maximum(length * (length - 1), 1)).sum())
        scale = float((pairs * squares / length).sum())
        correlations.append((together + back) / scale if scale else np.nan)
    return np.array(correlations)


def within_request_sd(trace: Trace) -> float:
    """Return the standard deviation of shares accepted within requests, pooled over requests."""
    freedom = int((trace.rounds - 1).sum())
    deviation = _deviations(trace, rounds_of(trace))
    return float(np.sqrt((deviation**2).sum() / freedom)) if freedom else float("nan")


def _deviations(trace: Trace, rounds: Rounds) -> NDArray[np.float64]:
    """Return the share accepted of each round, minus the mean of its request."""
    mean = np.add.reduceat(rounds.share, trace.offsets[:-1]) / trace.rounds
    return np.asarray(rounds.share - mean[rounds.request])


def describe(trace: Trace, most: int | None = None) -> pd.DataFrame:
    """Return statistics of acceptance, one row per data set and, last, one for all requests.

    Columns: `dataset`, `requests`, `acceptance` (mean over requests of accepted / drafted),
    `acceptance_sd` (over requests), `within_sd` (within requests), `tokens_per_round`,
    `length_correlation` (of acceptance and log output length), and the arrays `autocorrelation`,
    `draft_position` and `output_position`.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    most : int or None, optional
        Number of data sets, in order of appearance, that get a row; None: all.

    Examples
    --------
    >>> import lapsd
    >>> table = lapsd.describe(lapsd.load_trace("reference"))
    >>> table[["dataset", "requests", "acceptance"]].round(2)
          dataset  requests  acceptance
    0        code       200        0.61
    1       prose       200        0.25
    2  arithmetic       200        0.38
    3         all       600        0.42
    """
    names = trace.datasets
    rows: dict[str, list[int]] = {name: [] for name in names[:most]}
    for row, name in enumerate(trace.dataset):
        if name in rows:
            rows[name].append(row)
    groups = [(name, trace.take(own)) for name, own in rows.items()]
    if len(names) > 1:
        groups.append(("all", trace))
    return pd.DataFrame([_row(name, some) for name, some in groups])


def _row(name: str, trace: Trace) -> dict[str, object]:
    acceptance = trace.acceptance
    length = np.log(trace.output_tokens)
    varied = len(trace) > 2 and acceptance.std() > 0 and length.std() > 0
    return {
        "dataset": name,
        "requests": len(trace),
        "acceptance": float(acceptance.mean()),
        "acceptance_sd": float(acceptance.std(ddof=1)) if len(trace) > 1 else float("nan"),
        "within_sd": within_request_sd(trace),
        "tokens_per_round": float(trace.output_tokens.sum() / trace.rounds.sum()),
        "length_correlation": float(np.corrcoef(acceptance, length)[0, 1])
        if varied
        else float("nan"),
        "autocorrelation": autocorrelation(trace),
        "draft_position": acceptance_by_draft_position(trace),
        "output_position": acceptance_by_output_position(trace),
    }
