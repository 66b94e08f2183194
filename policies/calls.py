"""The calls of a policy's methods, and the errors in what they return, write or raise.

Each error is a `ValueError` of one line that names the policy, the method, the request and the
time.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from lapsd.policies.base import NEVER, Event, Lengths, Policy, PolicyContext, Rank
from lapsd.policies.contract import Own, check_class, check_values, title_of
from lapsd.policies.seen import Permission, SeenJob, new_state

PLAIN = frozenset({int, float, bool})
NUMBERS = (Real, np.bool_)
TRUTH = (bool, np.bool_, int, np.integer)
MOST_SHOWN = 80  # characters of a value in a message


def name_of(policy: Own | type[Own]) -> str:
    """Return the name of the policy, or of a class of policies, that users type."""
    return policy.name if isinstance(policy, type) else type(policy).name


def no_progress(policy: Policy, now_ns: int, waiting: int, why: str) -> ValueError:
    """Return the error for a run in which requests wait and none can ever run."""
    return ValueError(
        f"policy {name_of(policy)}: no progress at {now_ns} ns: {waiting} requests wait, and {why}"
    )


def raised(policy: Own | type[Own], method: str, error: BaseException) -> ValueError:
    """Return the error for an exception in a method of a policy; `sys.exit` is one as well.

    Parameters
    ----------
    method : the method, and, where there is one, the request and the time.

    Raises
    ------
    KeyboardInterrupt
        If the exception is one: the user interrupts the program.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    kind = policy if isinstance(policy, type) else type(policy)
    return ValueError(f"{title_of(kind)} {name_of(policy)}: {method} raised {described(error)}")


@contextmanager
def dividing_as_python() -> Iterator[None]:
    """Let a division of one number of an array by zero raise, as it does in Python and in compiled
    code; NumPy alone warns, and goes on with 0 or infinity.
    """
    with warnings.catch_warnings():
        for what in ("divide by zero", "invalid value"):
            warnings.filterwarnings("error", f"{what} encountered in scalar", RuntimeWarning)
        yield


def described(error: BaseException) -> str:
    """Return the type and the text of an exception in one line."""
    text = _line(str, error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line(text_of: Callable[[object], str], value: object) -> str:
    """Return the text of a user's object in one line, also if its own method fails."""
    try:
        return " ".join(text_of(value).split())
    except Exception:
        return f"<{type(value).__name__}>"


def shown(value: object) -> str:
    """Return the start of the text of a value in one line."""
    text = _line(repr, value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def at(job: SeenJob, now_ns: int) -> str:
    """Return the request and the time of an error."""
    return f"of request {job.index} at {now_ns} ns"


def bound(policy: Policy, context: PolicyContext) -> Policy:
    """Return a policy for one run: `bind` of a copy, so that no run changes another one.

    Raises
    ------
    ValueError
        If its class is not as `check_class` says, or `bind`, `ages` or `clairvoyant` raises or
        returns another type.
    """
    check_class(type(policy))
    check_values(policy)
    method = "bind"
    try:
        made = copy.deepcopy(policy).bind(copy.copy(context))
        if not isinstance(made, Policy):
            raise TypeError(f"it must return a policy, and returns {shown(made)}")
        for method in ("ages", "clairvoyant"):
            if not isinstance(answer := getattr(made, method), TRUTH):
                raise TypeError(f"it must be True or False, and is {shown(answer)}")
    except BaseException as error:
        raise raised(policy, method, error) from error
    return made


def rank_of(policy: Policy, job: SeenJob, now_ns: int) -> Rank:
    """Return the policy's rank of a job.

    Raises
    ------
    ValueError
        If the policy raises, or the rank is not a tuple of numbers, or one is NaN.
    """
    try:
        rank = policy.rank(job, now_ns)
    except BaseException as error:
        raise raised(policy, f"rank {at(job, now_ns)}", error) from error
    if isinstance(rank, tuple):
        for part in rank:
            if (type(part) not in PLAIN and not isinstance(part, NUMBERS)) or part != part:
                break
        else:
            return rank
    raise ValueError(
        f"policy {name_of(policy)}: rank {shown(rank)} {at(job, now_ns)}: must be a tuple of"
        " numbers, none of them NaN"
    )


def inform(policy: Policy, kind: str, job: SeenJob, now_ns: int) -> None:
    """Inform the policy of the arrival or completion of a job.

    Raises
    ------
    ValueError
        If the policy raises, or returns no truth value.
    """
    try:
        answer = policy.on_event(Event(kind, job, now_ns))
    except BaseException as error:
        raise raised(policy, f"on_event, {kind} {at(job, now_ns)}", error) from error
    if answer is not None and not isinstance(answer, TRUTH):
        raise ValueError(
            f"policy {name_of(policy)}: on_event returns {shown(answer)}, {kind}"
            f" {at(job, now_ns)}: must be True or False"
        )


def commit_round(policy: Policy, job: SeenJob, now_ns: int) -> None:
    """Inform the policy of a committed round of a job, which it may write to meanwhile.

    Raises
    ------
    ValueError
        If the policy raises.
    """
    permission = job._permission
    permission.given = True
    try:
        policy.on_round(job, now_ns)
    except BaseException as error:
        raise raised(policy, f"on_round {at(job, now_ns)}", error) from error
    finally:
        permission.given = False


def remaining_of(policy: Policy, job: SeenJob, now_ns: int) -> int:
    """Return the policy's estimate of a job's remaining time; 0 if it makes none.

    Raises
    ------
    ValueError
        If the policy raises, or the estimate is not a whole number from 0 on.
    """
    try:
        left_ns = policy.remaining_ns(job)
    except BaseException as error:
        raise raised(policy, f"remaining_ns {at(job, now_ns)}", error) from error
    return 0 if left_ns is None else _whole(policy, "remaining_ns", left_ns, job, now_ns)


def wake_of(policy: Policy, job: SeenJob, now_ns: int) -> int:
    """Return the time at which the rank of a waiting job falls, as the policy estimates it.

    Raises
    ------
    ValueError
        If the policy raises, or the time is not a whole number from 0 on.
    """
    try:
        wake_ns = policy.wake(job, now_ns)
    except BaseException as error:
        raise raised(policy, f"wake {at(job, now_ns)}", error) from error
    return _whole(policy, "wake", wake_ns, job, now_ns)


def _whole(policy: Policy, method: str, ns: Any, job: SeenJob, now_ns: int) -> int:
    """Return a time that a policy returned, if it is one."""
    if not isinstance(ns, int | np.integer) or not 0 <= ns <= NEVER:
        raise ValueError(
            f"policy {name_of(policy)}: {method} {shown(ns)} {at(job, now_ns)}: must be a whole"
            f" number from 0 to {NEVER}"
        )
    return int(ns)


@dataclass(frozen=True, slots=True)
class Arrival:
    """The part of a new request that a policy sees: a `policies.NewJob`."""

    index: int
    prompt_tokens: int
    predicted_tokens: int
    state: Any


def arrived(
    policy: Policy, index: int, prompt_tokens: int, predicted_tokens: int
) -> tuple[Any, Permission]:
    """Return the State that the policy keeps of a new request, None where it declares none, and the
    permission to write to the request, not given.

    Raises
    ------
    ValueError
        If the policy or its State raises.
    """
    permission = Permission()
    try:
        state = None if policy.State is None else new_state(policy.State, permission)
        if type(policy).on_arrival is not Policy.on_arrival:
            policy.on_arrival(Arrival(index, prompt_tokens, predicted_tokens, state))
    except BaseException as error:
        raise raised(policy, f"on_arrival of request {index}", error) from error
    permission.given = False
    return state, permission


def largest_of(policy: Policy, lengths: Lengths) -> int:
    """Return the policy's bound of the whole numbers that it computes.

    Raises
    ------
    ValueError
        If the policy raises, or the bound is not a whole number.
    """
    try:
        ns = policy.largest_ns(lengths)
        if not isinstance(ns, int | np.integer):
            raise TypeError(f"it must return a whole number, and returns {shown(ns)}")
    except BaseException as error:
        raise raised(policy, "largest_ns", error) from error
    return int(ns)


def derived_of(policy: Policy) -> dict[str, Any]:
    """Return the values that `bind` derived, which results list with the parameters.

    Raises
    ------
    ValueError
        If the policy raises, or returns no mapping.
    """
    try:
        values = policy.derived_values()
        if not isinstance(values, Mapping):
            raise TypeError(f"it must return a dictionary, and returns {shown(values)}")
        return {str(name): value for name, value in values.items()}
    except BaseException as error:
        raise raised(policy, "derived_values", error) from error
