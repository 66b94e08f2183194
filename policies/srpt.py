"""Shortest remaining processing time first, by true times."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.base import Clairvoyant, Job, NewJob, PolicyContext, Rank


@dataclass(slots=True)
class TrueTimes:
    """The true times of a request.

    Attributes
    ----------
    prefill_ns : int
        Time of its prefill.
    first : int
        Index of its first entry in `SRPT.true_remaining_ns`.
    """

    prefill_ns: int = 0
    first: int = 0


@dataclass(frozen=True)
class SRPT(Clairvoyant):
    """Least true remaining time (prefill and rounds) first, preemptive.

    Clairvoyant. Optimal only if all rounds take equally long, and prefill and switching no time.

    Notes
    -----
    A reference: how far a policy is from knowing all times.

    References
    ----------
    Schrage, 1968.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import SRPT
    >>> result = lapsd.compare(policies=[SRPT()], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
      policy  preemptions
    0   srpt           15
    """

    name: ClassVar[str] = "srpt"
    State: ClassVar[type[TrueTimes]] = TrueTimes

    # true times of the remaining rounds of all requests, by committed rounds, one after the other;
    # requests that replay the same trace row share their entries
    true_remaining_ns: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64),
        repr=False,
        compare=False,
        metadata={"bound": True},
    )
    first: tuple[int, ...] = field(default=(), repr=False, compare=False, metadata={"bound": True})

    def bind(self, context: PolicyContext) -> Self:
        rows = {id(row): row for row in context.true_remaining_ns}
        starts = np.cumsum([0, *map(len, rows.values())]).tolist()
        start_of = dict(zip(rows, starts, strict=False))
        return replace(
            super().bind(context),
            true_remaining_ns=np.concatenate([np.zeros(0, dtype=np.int64), *rows.values()]).astype(
                np.int64
            ),
            first=tuple(start_of[id(row)] for row in context.true_remaining_ns),
        )

    def on_arrival(self, job: NewJob) -> None:
        job.state.prefill_ns = self.truth.true_prefill_ns[job.index]
        job.state.first = self.first[job.index]

    def rank(self, job: Job, now_ns: int) -> Rank:
        prefill_ns = 0 if job.started else job.state.prefill_ns
        return (prefill_ns + int(self.true_remaining_ns[job.state.first + job.rounds]),)
