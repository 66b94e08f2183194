"""A scheduling decision, shared by the simulator and the servers: order the active requests, choose
the ones that run, and commit their rounds.

The compiled loop (`lapsd.sim.engine.loop`) takes the same steps over arrays.
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.base import Job, Policy, Rank
from lapsd.policies.calls import arrived, commit_round, inform, name_of, rank_of, shown
from lapsd.policies.contract import check_class
from lapsd.policies.seen import SeenJob


class ServedJob(Job, Protocol):
    """A job as a server keeps it.

    Attributes
    ----------
    entered_ns : int
        Time at which it entered its queue: at first its arrival.
    seen : SeenJob
        The same job as the policy sees it, from its arrival on.
    """

    entered_ns: int
    seen: Any


class PreemptedJob(Job, Protocol):
    """A job whose preemptions a server counts."""

    preemptions: int


J = TypeVar("J")
P = TypeVar("P", bound=PreemptedJob)
Place = tuple[Rank, bool, int, int]


@dataclass(eq=False)
class Decisions:
    """Calls of a policy that a server makes during a run.

    An error of the policy becomes a `ValueError` of one line, which names the policy, the request
    and the time.

    Attributes
    ----------
    policy : Policy
        Bound.
    parts : int or None
        Length of the policy's ranks; None: no request has been ranked.
    arrays : list of array
        The arrays in the policy's fields, which only events and rounds may change.
    """

    policy: Policy
    parts: int | None = None
    arrays: list[NDArray[Any]] = field(init=False)

    def __post_init__(self) -> None:
        check_class(type(self.policy))  # raises an error before the run
        values = [getattr(self.policy, f.name) for f in fields(self.policy)]
        self.arrays = [v for v in values if isinstance(v, np.ndarray) and v.flags.writeable]
        self._let_write(False)

    def _let_write(self, may: bool) -> None:
        for array in self.arrays:
            array.flags.writeable = may

    def arrive(self, job: ServedJob, now_ns: int) -> None:
        """Let a new job enter its first queue, with the State that the policy keeps of it."""
        job.entered_ns = job.arrival_ns
        self._let_write(True)
        state = arrived(self.policy, job.index, job.prompt_tokens, job.predicted_tokens)
        job.seen = SeenJob(job, *state)
        inform(self.policy, "arrival", job.seen, now_ns)
        self._let_write(False)

    def order(self, now_ns: int) -> Callable[[ServedJob], Place]:
        """Return the sort key of active jobs: rank; running before waiting; then entry into the
        queue, then order of arrival.
        """
        rank = self._rank
        return lambda job: (rank(job.seen, now_ns), not job.running, job.entered_ns, job.index)

    def _rank(self, job: SeenJob, now_ns: int) -> Rank:
        """Return the rank of a job, which must be as long as those before it."""
        rank = rank_of(self.policy, job, now_ns)
        if len(rank) != self.parts:
            if self.parts is not None:
                raise ValueError(
                    f"policy {name_of(self.policy)}: rank {shown(rank)} of request {job.index} at"
                    f" {now_ns} ns: must be of length {self.parts}, as the ranks before it"
                )
            self.parts = len(rank)
        return rank

    def commit(self, job: ServedJob, emitted: int, round_ns: int, now_ns: int) -> None:
        """Commit a round of a job, and let the policy take it in."""
        job.service_ns += round_ns
        job.tokens += emitted
        job.rounds += 1
        queue = job.queue
        self._let_write(True)
        commit_round(self.policy, job.seen, now_ns)
        self._let_write(False)
        if job.queue != queue:
            job.entered_ns = now_ns

    def leave(self, job: ServedJob, now_ns: int) -> None:
        """Tell the policy that a job is finished."""
        self._let_write(True)
        inform(self.policy, "completion", job.seen, now_ns)
        self._let_write(False)


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


def settle(active: Sequence[P], chosen: Sequence[P]) -> tuple[list[P], list[P]]:
    """Let the chosen jobs run, and preempt the running jobs that were not chosen.

    Returns the jobs that wait now, and the chosen jobs that waited until now, in order.
    """
    fresh, runs = [job for job in chosen if not job.running], set(chosen)
    for job in active:
        job.preemptions += job.running and job not in runs
        job.running = job in runs
    return [job for job in active if not job.running], fresh
