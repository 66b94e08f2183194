"""The calls of a policy's methods for a request, and the errors in what they return or write.

Each error is a `ValueError` of one line that names the policy, the request and the time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from numbers import Real
from operator import attrgetter
from typing import Any

import numpy as np

from lapsd.policies.base import Event, Job, NewJob, Policy, Rank

# types of the values that a field of a State of each type may take
ACCEPTED: dict[type, tuple[type, ...]] = {
    int: (int, np.integer),
    float: (int, float, np.floating, np.integer),
    bool: (bool, np.bool_),
}
NUMBERS = (Real, np.bool_)
# the attributes of a job that `on_round` may only read
FACTS = [
    *("index", "arrival_ns", "prompt_tokens", "predicted_tokens", "started", "running", "rounds"),
    *("tokens", "service_ns", "drafted", "accepted", "state"),
]
_facts_of = attrgetter(*FACTS)


def name_of(policy: Policy) -> str:
    """Return the name of the policy that users type."""
    return policy.name or type(policy).__name__


def no_progress(policy: Policy, now_ns: int, waiting: int, why: str) -> ValueError:
    """Return the error for a run in which requests wait and none can ever run."""
    return ValueError(
        f"policy {name_of(policy)}: no progress at {now_ns} ns: {waiting} requests wait, and {why}"
    )


def raised(policy: Policy, method: str, where: str, error: Exception) -> ValueError:
    """Return the error for an exception in a method of a policy.

    Parameters
    ----------
    where : the request and the time.
    """
    return ValueError(
        f"policy {name_of(policy)}: {method} {where} raised {type(error).__name__}: {error}"
    )


def rank_of(policy: Policy, job: Job, now_ns: int) -> Rank:
    """Return the policy's rank of a job.

    Raises
    ------
    ValueError
        If the policy raises, or the rank is not a tuple of numbers, or one is NaN.
    """
    try:
        rank = policy.rank(job, now_ns)
    except Exception as error:
        raise raised(policy, "rank", _at(job, now_ns), error) from error
    if isinstance(rank, tuple):
        for part in rank:
            if part != part or not (type(part) in ACCEPTED or isinstance(part, NUMBERS)):
                break
        else:
            return rank
    raise ValueError(
        f"policy {name_of(policy)}: rank {rank!r} {_at(job, now_ns)}: must be a tuple of numbers, "
        "none of them NaN"
    )


def _at(job: Job, now_ns: int) -> str:
    """Return the request and the time of an error."""
    return f"of request {job.index} at {now_ns} ns"


def inform(policy: Policy, kind: str, job: Job, now_ns: int) -> None:
    """Inform the policy of the arrival or completion of a job."""
    try:
        policy.on_event(Event(kind, job, now_ns))
    except Exception as error:
        raise raised(policy, f"on_event, {kind}", _at(job, now_ns), error) from error


def commit_round(policy: Policy, job: Job, now_ns: int) -> None:
    """Inform the policy of a committed round of a job.

    Raises
    ------
    ValueError
        If the policy raises, writes to what it may only read, or writes a value of another type.
    """
    facts = _facts_of(job)
    try:
        policy.on_round(job, now_ns)
    except Exception as error:
        raise raised(policy, "on_round", _at(job, now_ns), error) from error
    if (written := _facts_of(job)) != facts:
        name, value = next((n, b) for n, a, b in zip(FACTS, facts, written, strict=True) if a != b)
        raise ValueError(
            f"policy {name_of(policy)}: job.{name}={value!r} {_at(job, now_ns)}: must not be "
            "written by a policy"
        )
    if type(job.queue) is not int:
        _check_type(policy, "job.queue", job.queue, int, _at(job, now_ns))
    if policy.State is not None:
        _check_state(policy, policy.State, job.state, _at(job, now_ns))


@dataclass(frozen=True, slots=True)
class Arrival:
    """The part of a new request that a policy sees: a `policies.NewJob`."""

    index: int
    prompt_tokens: int
    predicted_tokens: int
    state: Any


def new_state(policy: Policy, index: int, prompt_tokens: int, predicted_tokens: int) -> Any:
    """Return the State that the policy keeps of a new request; None where it declares none.

    Raises
    ------
    ValueError
        If the policy raises, or a field of the State is not of its type.
    """
    state = None if policy.State is None else policy.State()
    if type(policy).on_arrival is not Policy.on_arrival:
        job: NewJob = Arrival(index, prompt_tokens, predicted_tokens, state)
        try:
            policy.on_arrival(job)
        except Exception as error:
            raise raised(policy, "on_arrival", f"of request {index}", error) from error
        if policy.State is not None:
            _check_state(policy, policy.State, state, f"of request {index} at its arrival")
    return state


def state_types(policy: Policy) -> Mapping[str, type]:
    """Return the types of the fields of a policy's State: int, float or bool.

    Raises
    ------
    ValueError
        If the State is not a dataclass whose fields all have defaults of these types.
    """
    kind: Any = policy.State
    if kind is None:
        return {}
    try:
        found = _types_of(kind)
    except TypeError as error:
        raise ValueError(
            f"policy {name_of(policy)}: State must be a dataclass whose fields have defaults"
        ) from error
    for name, field_type in found.items():
        if field_type not in ACCEPTED:
            raise ValueError(
                f"policy {name_of(policy)}: State.{name} is of type {field_type.__name__}: must be "
                "int, float or bool"
            )
    return found


@cache
def _types_of(kind: Any) -> Mapping[str, type]:
    """Return the types of the defaults of a dataclass."""
    state = kind()
    return {field.name: type(getattr(state, field.name)) for field in fields(state)}


def _check_state(policy: Policy, kind: Any, state: Any, where: str) -> None:
    """Raise `ValueError` if a field of a State is not of its type."""
    for name, expected in _types_of(kind).items():
        value = getattr(state, name)
        if type(value) is not expected:
            _check_type(policy, f"State.{name}", value, expected, where)


def _check_type(policy: Policy, name: str, value: Any, expected: type, where: str) -> None:
    """Raise `ValueError` if a value that a policy wrote is not of its type."""
    if not isinstance(value, ACCEPTED[expected]):
        raise ValueError(
            f"policy {name_of(policy)}: {name}={value!r} {where}: must be of type "
            f"{expected.__name__}"
        )
