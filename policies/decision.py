"""The order of a decision, which every driver shares: how a rank is asked for, and who is chosen of
those present.
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

from lapsd.policies.base import Job, Policy, Rank

J = TypeVar("J", bound=Job)


def name_of(policy: Policy) -> str:
    """What users call the policy."""
    return policy.name or type(policy).__name__


def rank_of(policy: Policy, job: Job, now_ns: int) -> Rank:
    """The policy's rank of a job.

    Raises
    ------
    ValueError
        Naming policy, request and value, if the policy raises, or the rank has NaN in it.
    """
    try:
        rank = policy.rank(job, now_ns)
        for part in rank:
            if part != part:  # what is not equal to itself has no place in any order
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
    """The policy's ranks of jobs, as `rank_of` has each."""
    with suppress(Exception):  # `rank_of` says of which job
        ranks = [policy.rank(job, now_ns) for job in jobs]
        if all([part == part for rank in ranks for part in rank]):  # noqa: C419 - a third of the time
            return ranks
    return [rank_of(policy, job, now_ns) for job in jobs]


def no_progress(policy: Policy, now_ns: int, waiting: int, why: str) -> ValueError:
    """What is wrong where somebody waits, and nobody will ever run."""
    return ValueError(
        f"policy {name_of(policy)}: no progress at {now_ns} ns: {waiting} requests wait, and {why}"
    )


def choose(ordered: Iterable[J], batch_slots: int, fits: Callable[[list[J]], bool]) -> list[J]:
    """The first in order, as many as have seats and fit the memory together: nobody is passed over.

    `fits` is asked O(log seats) times: what is more than fits does not fit with more beside it.
    """
    first = list(itertools.islice(ordered, batch_slots))
    if fits(first):
        return first
    return first[
        : bisect_left(range(1, len(first)), True, key=lambda count: not fits(first[:count]))
    ]
