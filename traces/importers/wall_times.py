"""Fit a profile to the wall times of whole requests, if a file has no times of single rounds."""

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.costs import Costs, Linear, RoundTerms
from lapsd.traces.profile import Profile
from lapsd.traces.provenance import FitError, Fits, Provenance
from lapsd.traces.trace import Trace


def fit_wall_times(trace: Trace, wall_s: NDArray[np.float64]) -> Profile:
    """Return a profile with the costs of a round and of a draft token.

    The fit is by non-negative least squares. Errors are relative to each wall time, so that long
    requests do not dominate. Wall times do not show the costs of prefill, context and switching
    separately: these are part of the round, or 0. If all rounds draft the same number of tokens,
    the cost of draft tokens is part of the round as well, and the profile covers only that number.

    Parameters
    ----------
    wall_s : wall time of each request in seconds, (R,).
    """
    from scipy.optimize import nnls

    lengths = np.unique(trace.drafted)
    only = int(lengths[0]) if len(lengths) == 1 else None
    columns = [trace.rounds, *([trace.per_request(trace.drafted)] if only is None else [])]
    design = np.column_stack(columns).astype(float)
    seconds, _ = nnls(design / wall_s[:, None], np.ones(len(wall_s)))
    per_round_ns, per_token_ns = (round(float(s) * 1e9) for s in np.append(seconds, 0.0)[:2])
    error = np.abs(design @ seconds / wall_s - 1)
    zero = Linear(0, 0)
    terms = RoundTerms(Linear(per_token_ns, 0), {1: max(1, per_round_ns)}, {1: 0}, 0)
    costs = Costs({1: terms}, prefill=zero, swap_out=zero, swap_in=zero, only_draft_tokens=only)
    whole = FitError(
        median_error=float(np.median(error)),
        p90_error=float(np.percentile(error, 90)),
        samples=len(error),
    )
    missing = ["prefill", "swap_out", "swap_in", "context"]
    if only is not None:
        missing.append("draft_step (part of the round)")
    provenance = Provenance(source=trace.provenance.source, missing=tuple(missing))
    return Profile("wall_time_fit", "pretrained", costs, Fits(request=whole), provenance)
