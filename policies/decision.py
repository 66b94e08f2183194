"""A scheduling decision, shared by the simulator and the servers: order the active requests, choose
the ones that run, and commit their rounds.

The compiled loop (`lapsd.sim.engine.loop`) takes the same steps over arrays.
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from lapsd.policies.base import Job, Policy, Rank
from lapsd.policies.calls import commit_round, inform, name_of, new_state, rank_of, state_types


class ServedJob(Job, Protocol):
    """A job as a server keeps it.

    Attributes
    ----------
    entered_ns : int
        Time at which it entered its queue: at first its arrival.
    """

    entered_ns: int


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
    """

    policy: Policy
    parts: int | None = None

    def __post_init__(self) -> None:
        state_types(self.policy)  # raises an error before the run

    def arrive(self, job: ServedJob, now_ns: int) -> None:
        """Let a new job enter its first queue, with the State that the policy keeps of it."""
        job.entered_ns = job.arrival_ns
        job.state = new_state(self.policy, job.index, job.prompt_tokens, job.predicted_tokens)
        inform(self.policy, "arrival", job, now_ns)

    def order(self, now_ns: int) -> Callable[[ServedJob], Place]:
        """Return the sort key of active jobs: rank; running before waiting; then entry into the
        queue, then order of arrival.
        """
        return lambda job: (self._rank(job, now_ns), not job.running, job.entered_ns, job.index)

    def _rank(self, job: Job, now_ns: int) -> Rank:
        """Return the rank of a job, which must be as long as those before it."""
        rank = rank_of(self.policy, job, now_ns)
        self.parts = len(rank) if self.parts is None else self.parts
        if len(rank) != self.parts:
            raise ValueError(
                f"policy {name_of(self.policy)}: rank {rank!r} of request {job.index} at {now_ns} "
                f"ns: must be of length {self.parts}, as the ranks before it"
            )
        return rank

    def commit(self, job: ServedJob, emitted: int, round_ns: int, now_ns: int) -> None:
        """Commit a round of a job, and let the policy take it in."""
        job.service_ns += round_ns
        job.tokens += emitted
        job.rounds += 1
        queue = job.queue
        commit_round(self.policy, job, now_ns)
        if job.queue != queue:
            job.entered_ns = now_ns

    def leave(self, job: Job, now_ns: int) -> None:
        """Tell the policy that a job is finished."""
        inform(self.policy, "completion", job, now_ns)


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
