"""The call of a draft policy for a step, and the errors in what it returns.

Each error is a `ValueError` of one line that names the policy and the time.
"""

import numpy as np

from lapsd.policies.drafts.base import DraftPolicy, DraftStep, Ints


def name_of(policy: DraftPolicy) -> str:
    """Return the name of the draft policy that users type."""
    return type(policy).name


def lengths_of(policy: DraftPolicy, step: DraftStep, now_ns: int) -> Ints:
    """Return the draft length of each request of a step, (b,).

    Raises
    ------
    ValueError
        If the policy raises, or does not return one whole number from 0 to `step.most` for each
        request.
    """
    where = f"draft policy {name_of(policy)}: choose at {now_ns} ns"
    try:
        lengths = policy.choose(step)
    except Exception as error:
        raise ValueError(f"{where} raised {type(error).__name__}: {error}") from error
    if not isinstance(lengths, np.ndarray) or lengths.dtype.kind not in "iu":
        kind = lengths.dtype if isinstance(lengths, np.ndarray) else type(lengths).__name__
        raise ValueError(f"{where} returned {kind}: must be an array of whole numbers")
    if lengths.shape != (step.requests,):
        raise ValueError(
            f"{where} returned an array of shape {lengths.shape}: must be ({step.requests},), one"
            " length per request"
        )
    for place in np.flatnonzero((lengths < 0) | (lengths > step.most)).tolist()[:1]:
        raise ValueError(
            f"{where} returned length {lengths[place]}: must be between 0 and {step.most}"
        )
    return lengths
