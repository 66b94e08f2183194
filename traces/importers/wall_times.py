"""A profile fitted to whole requests' wall times: what a file that timed no single round can tell
of costs.
"""

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.costs import Costs, Linear, RoundTerms
from lapsd.traces.profile import Profile
from lapsd.traces.provenance import FitError, Fits, Provenance
from lapsd.traces.trace import Trace


def fit_wall_times(trace: Trace, wall_s: NDArray[np.float64]) -> Profile:
    """Cost of a round and of a draft token from whole requests' wall times, (R,), by non-negative
    least squares.

    Errors are relative to each wall time, so that long requests do not decide alone. Prefill,
    context and switching cannot be told apart in wall times: they are part of the round, or 0.
    Where every round drafted the same number of tokens, nor can rounds and draft tokens: all of it
    is the round's, and the profile holds for that number alone.
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
