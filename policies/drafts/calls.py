"""The calls of a draft policy's methods, and the errors in what they return, write or raise.

Each error is a `ValueError` of one line that names the policy, the method and the time.
"""

import copy
from typing import Any

import numpy as np

from lapsd.policies.calls import TRUTH, dividing_as_python, name_of, raised, shown
from lapsd.policies.contract import check_class, check_values
from lapsd.policies.drafts.base import LONGEST, DraftContext, DraftPolicy, DraftStep, Ints
from lapsd.policies.seen import Permission, new_state


def bound_drafts(policy: DraftPolicy, context: DraftContext) -> DraftPolicy:
    """Return a draft policy for one run: `bind` of a copy, so that no run changes another one.

    Raises
    ------
    ValueError
        If its class is not as `check_class` says, or `bind` or a property raises or returns what it
        must not.
    """
    check_class(type(policy))
    check_values(policy)
    method = "bind"
    try:
        made = copy.deepcopy(policy).bind(context)
        if not isinstance(made, DraftPolicy):
            raise TypeError(f"it must return a draft policy, and returns {shown(made)}")
        for method in ("clairvoyant", "confident"):
            if not isinstance(answer := getattr(made, method), TRUTH):
                raise TypeError(f"it must be True or False, and is {shown(answer)}")
        method, most = "most", made.most
        if type(most) is not int or not 0 <= most <= LONGEST:
            raise ValueError(f"must be a whole number from 0 to {LONGEST}, and is {shown(most)}")
    except BaseException as error:
        raise raised(policy, method, error) from error
    for value in vars(made).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return made


def state_of(policy: DraftPolicy) -> Any:
    """Return the State that a draft policy keeps in a run; None where it declares none."""
    return None if policy.State is None else new_state(policy.State, Permission(), "step.state")


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
        with dividing_as_python():
            lengths = policy.choose(step)
    except BaseException as error:
        raise raised(policy, f"choose at {now_ns} ns", error) from error
    plain = type(lengths) is np.ndarray  # a masked array gives elements that are no numbers
    if not plain or lengths.dtype.kind not in "iu":
        kind = lengths.dtype if plain else type(lengths).__name__
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
