"""What a trace's acceptances are like: their mean and spread, how rounds hang together, where in a
draft they stop.

The figures by which a recorded trace and a generated one are compared. Knows nothing of policies:
the rounds at which requests become perceptible are in `lapsd.sim.experiment.stability`.
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
    """A trace's rounds, each with what surrounds it; arrays over the rounds of all requests.

    Attributes
    ----------
    request : which request's
    before : tokens emitted before
    share : accepted over drafted tokens
    tested : draft tokens that were held against the target: those accepted, and the first that was
    not
    """

    request: NDArray[np.int64]
    before: NDArray[np.int64]
    share: NDArray[np.float64]
    tested: NDArray[np.int64]


def rounds_of(trace: Trace) -> Rounds:
    """The rounds of a trace.

    Where an output ends in an accepted draft token, the rest of that draft is untested.
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
    """Probability that the j-th token of a draft is accepted when those before it were, j = 1 to
    `most`; (J,).
    """
    rounds, deepest = rounds_of(trace), min(most, int(trace.drafted.max()))
    j = np.arange(1, deepest + 1)[:, None]
    tested, accepted = (rounds.tested >= j).sum(axis=1), (trace.accepted >= j).sum(axis=1)
    return np.where(tested > 0, accepted / np.maximum(tested, 1), np.nan)


def acceptance_by_output_position(trace: Trace) -> NDArray[np.float64]:
    """Mean share accepted, less the request's mean, by tokens emitted before the round, (edges +
    1,).

    Requests with one round say nothing of it and are left out.
    """
    rounds = rounds_of(trace)
    deviation, several = _deviations(trace, rounds), trace.rounds[rounds.request] > 1
    bins = np.searchsorted(OUTPUT_EDGES, rounds.before, side="right")
    counts = np.bincount(bins[several], minlength=len(OUTPUT_EDGES) + 1)
    sums = np.bincount(bins[several], deviation[several], minlength=len(OUTPUT_EDGES) + 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def autocorrelation(trace: Trace, lags: int = LAGS) -> NDArray[np.float64]:
    """Correlation of the shares accepted in rounds of one request, at lags 1 to `lags`, over all
    requests; (lags,).

    About each request's own mean, with what that takes away put back: requests whose rounds came in
    random order give 0 on average at every lag.
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
    """Standard deviation of a round's share accepted about its request's mean, pooled over
    requests.
    """
    freedom = int((trace.rounds - 1).sum())
    deviation = _deviations(trace, rounds_of(trace))
    return float(np.sqrt((deviation**2).sum() / freedom)) if freedom else float("nan")


def _deviations(trace: Trace, rounds: Rounds) -> NDArray[np.float64]:
    mean = np.add.reduceat(rounds.share, trace.offsets[:-1]) / trace.rounds
    return np.asarray(rounds.share - mean[rounds.request])


def describe(trace: Trace) -> pd.DataFrame:
    """A row a data set, and of all requests: moments of acceptance, its autocorrelation, its
    position effects.

    Columns: `dataset`, `requests`, `acceptance` (mean over requests of accepted / drafted),
    `acceptance_sd` (over requests), `within_sd` (over a request's rounds), `tokens_per_round`,
    `length_correlation` (of acceptance and log output length), `autocorrelation`, `draft_position`,
    `output_position` (arrays).
    """
    names = trace.datasets
    groups = [(name, trace.only(name)) for name in names]
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
