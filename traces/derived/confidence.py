"""How well the draft model's own probabilities predict acceptance."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.traces.trace import Trace

EDGES = np.linspace(0.0, 1.0, 11)


class Reliability(NamedTuple):
    """Acceptance of proposals by the draft model's own probability of them.

    Attributes
    ----------
    bins : DataFrame
        One row per bin of probabilities that holds a proposal: `low`, `high`, `proposals`,
        `draft_prob` (the mean), `accepted` (the share).
    auc : float
        Area under the ROC curve: the probability that of an accepted and a rejected proposal the
        accepted one has the larger probability, ties counted half; NaN if all or none are accepted.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import reliability
    >>> found = reliability(lapsd.load_trace("reference-confidence"))
    >>> 0.5 < found.auc < 1
    True
    >>> list(found.bins.columns)
    ['low', 'high', 'proposals', 'draft_prob', 'accepted']
    """

    bins: pd.DataFrame
    auc: float


def reliability(trace: Trace) -> Reliability | None:
    """Return how well confidence predicts acceptance; None if the trace does not hold both.

    Each output position is one proposal. In a sampled trace it counts as accepted with the
    probability `accept_prob`.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import reliability
    >>> round(reliability(lapsd.load_trace("reference-confidence")).auc, 2)
    0.84
    """
    if trace.draft_prob is None:
        return None
    if trace.accept_prob is not None:
        accepted = trace.accept_prob.astype(float)
    elif trace.acceptable is not None:
        accepted = (trace.acceptable > 0).astype(float)
    else:
        return None
    confidence = trace.draft_prob.astype(float)
    place = np.minimum(np.searchsorted(EDGES, confidence, side="right") - 1, len(EDGES) - 2)
    rows = [
        (
            EDGES[k],
            EDGES[k + 1],
            int((place == k).sum()),
            float(confidence[place == k].mean()),
            float(accepted[place == k].mean()),
        )
        for k in range(len(EDGES) - 1)
        if (place == k).any()
    ]
    names = ["low", "high", "proposals", "draft_prob", "accepted"]
    return Reliability(pd.DataFrame(rows, columns=names), _auc(confidence, accepted))


def _auc(score: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve, where an observation is positive with `weight`."""
    _, which = np.unique(score, return_inverse=True)
    positive = np.bincount(which, weights=weight)
    negative = np.bincount(which, weights=1 - weight)
    total = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / total) if total else float("nan")
