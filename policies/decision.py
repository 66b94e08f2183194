"""A scheduling decision, shared by the simulator and the servers: rank the active requests, and
choose which of them run.
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar

import numpy as np

from lapsd.policies.base import Job, NewJob, Policy, Rank

J = TypeVar("J", bound=Job)


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
        If the policy raises, or a field of the State is not of its type; the message names the
        policy and the request.
    """
    state = None if policy.State is None else policy.State()
    if type(policy).on_arrival is not Policy.on_arrival:
        job: NewJob = Arrival(index, prompt_tokens, predicted_tokens, state)
        try:
            policy.on_arrival(job)
        except Exception as error:
            raise ValueError(
                f"policy {name_of(policy)}: the arrival of request {index} raised "
                f"{type(error).__name__}: {error}"
            ) from error
        check_state(policy, state, f"of request {index} at its arrival")
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
        if field_type not in (int, float, bool):
            raise ValueError(
                f"policy {name_of(policy)}: State.{name} is of type {field_type.__name__}: must be "
                "int, float or bool"
            )
    return found


@cache
def _types_of(kind: type[Any]) -> Mapping[str, type]:
    """Return the types of the defaults of a dataclass."""
    state = kind()
    return {field.name: type(getattr(state, field.name)) for field in fields(state)}


def check_state(policy: Policy, state: Any, where: str) -> None:
    """Raise `ValueError` if a field of a State is not of its type."""
    for name, expected in state_types(policy).items():
        value = getattr(state, name)
        if type(value) is not expected and not isinstance(value, ACCEPTED[expected]):
            raise ValueError(
                f"policy {name_of(policy)}: State.{name}={value!r} {where}: must be of type "
                f"{expected.__name__}"
            )


# values that a field of each type may take besides those of its own type
ACCEPTED: dict[type, tuple[type, ...]] = {
    int: (int, np.integer),
    float: (int, float, np.floating, np.integer),
    bool: (np.bool_,),
}


def commit_round(policy: Policy, job: Job, now_ns: int) -> None:
    """Inform the policy of a committed round of a job.

    Raises
    ------
    ValueError
        If the policy raises, or a field of the State is not of its type; the message names the
        policy, the request and the time.
    """
    try:
        policy.on_round(job, now_ns)
    except Exception as error:
        raise ValueError(
            f"policy {name_of(policy)}: the round of request {job.index} at {now_ns} ns raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if policy.State is not None:
        check_state(policy, job.state, f"of request {job.index} at {now_ns} ns")


def name_of(policy: Policy) -> str:
    """Return the name of the policy that users type."""
    return policy.name or type(policy).__name__


def rank_of(policy: Policy, job: Job, now_ns: int) -> Rank:
    """Return the policy's rank of a job.

    Raises
    ------
    ValueError
        If the policy raises or the rank contains NaN; the message names the policy, the request and
        the value.
    """
    try:
        rank = policy.rank(job, now_ns)
        for part in rank:
            if part != part:  # NaN, which cannot be ordered
                break
        else:
            return rank
    except Exception as error:
        raise ValueError(
            f"policy {name_of(policy)}: ranking request {job.index} at {now_ns} ns raised "
            f"{type(error).__name__}: {error}"
        ) from error
    raise ValueError(
        f"policy {name_of(policy)}: rank {rank} of request {job.index} is not comparable"
    )


def ranks_of(policy: Policy, jobs: Sequence[Job], now_ns: int) -> list[Rank]:
    """Return the policy's rank of each job; raises as `rank_of` does."""
    with suppress(Exception):  # `rank_of`, below, names the job
        ranks = [policy.rank(job, now_ns) for job in jobs]
        if all([part == part for rank in ranks for part in rank]):  # noqa: C419 - takes a third of the time
            return ranks
    return [rank_of(policy, job, now_ns) for job in jobs]


def no_progress(policy: Policy, now_ns: int, waiting: int, why: str) -> ValueError:
    """Return the error for a run in which requests wait and none can ever run."""
    return ValueError(
        f"policy {name_of(policy)}: no progress at {now_ns} ns: {waiting} requests wait, and {why}"
    )


def choose(ordered: Iterable[J], batch_slots: int, fits: Callable[[list[J]], bool]) -> list[J]:
    """Return the first requests in order, as many as have a batch slot and fit into memory
    together.

    No request is skipped. `fits` is called O(log batch_slots) times: if some requests do not fit,
    more do not fit either.
    """
    first = list(itertools.islice(ordered, batch_slots))
    if fits(first):
        return first
    return first[
        : bisect_left(range(1, len(first)), True, key=lambda count: not fits(first[:count]))
    ]
