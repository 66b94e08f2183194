"""Acceptance in the drafts of past requests, by place in the draft and by confidence."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.derived.replay import accepted_runs
from lapsd.traces.trace import Trace

PLACES = 16  # of a draft; beyond them the last share applies
BINS = 50  # of the draft model's probabilities, with equally many proposals
HISTORY_STREAM = 8  # of the random draws that decide which past proposals were accepted


@lru_cache(maxsize=8)
def acceptance_by_place(trace: Trace) -> tuple[float, ...]:
    """Return the share of the j-th draft tokens that are accepted if those before them are.

    Rounds may begin at any output position. Empty if the trace has no column by position.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import acceptance_by_place
    >>> trace = lapsd.load_trace("reference")
    >>> [round(share, 2) for share in acceptance_by_place(trace)[:3]]
    [0.61, 0.67, 0.69]
    """
    runs, remaining = _runs_of(trace)
    shares: list[float] = []
    for place in range(PLACES if len(runs) else 0):
        tested = (runs >= place) & (remaining > place)
        if not tested.any():
            break
        shares.append(float((runs[tested] > place).mean()))
    return tuple(shares)


@lru_cache(maxsize=8)
def acceptance_by_confidence(trace: Trace) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return probabilities that the draft model gave to its proposals, ascending, and the share of
    such proposals that were accepted, which never falls.

    The shares of bins with equally many proposals are made monotone by isotonic regression. Both
    are empty if the trace lacks `draft_prob`.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import acceptance_by_confidence
    >>> confidence, accepted = acceptance_by_confidence(
    ...     lapsd.load_trace("reference-confidence")
    ... )
    >>> accepted[0] < accepted[-1]
    True
    """
    if trace.draft_prob is None:
        return (), ()
    from scipy.optimize import isotonic_regression  # half a second

    runs, _ = _runs_of(trace)
    if not len(runs):
        return (), ()
    order = np.argsort(trace.draft_prob, kind="stable")
    probability, accepted = trace.draft_prob[order].astype(float), (runs[order] > 0).astype(float)
    parts = np.array_split(np.arange(len(order)), min(BINS, len(order)))
    means = np.array([probability[part].mean() for part in parts])
    shares = isotonic_regression(np.array([accepted[part].mean() for part in parts])).x
    kept = np.append(True, np.diff(means) > 0)
    return tuple(means[kept].tolist()), tuple(shares[kept].tolist())


def _runs_of(trace: Trace) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many proposals are accepted in a row from each output position, and how many
    tokens remain there.
    """
    if trace.accept_prob is None and trace.acceptable is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ends = np.repeat(trace.output_offsets[1:], trace.output_tokens)
    runs = accepted_runs(trace, np.random.default_rng(HISTORY_STREAM))
    return runs, ends - np.arange(len(runs))
