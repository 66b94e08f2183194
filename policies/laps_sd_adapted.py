"""LAPS-SD with queues that adapt to the number of active requests, or to past times."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import quantiles
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.base import NEVER, Event, Job, PolicyContext, Rank
from lapsd.policies.laps_sd import LapsSD

RULES = ("present", "quantiles", "both")
FEWEST, MOST = 2, 8  # number of queues, K, when it follows the number of active requests


@dataclass(frozen=True)
class LapsSDAdapted(LapsSD):
    """LAPS-SD with K set by the number of active requests, thresholds at quantiles of past times,
    or both.

    In the paper the best K falls from 6 at 10 requests to 4 at 30; an adaptive K is left open. The
    queue of a request is found anew for each rank, from its service or, once it is perceptible,
    from its remaining T̃.

    Parameters
    ----------
    rule : str
        `present`: K falls by one for each doubling of the active requests, from 8 for one request
        to 2 for 64. `quantiles`: K stays, and Sup_j is the j / K quantile of past T̃. `both`: these
        quantiles, with K by active requests.

    Notes
    -----
    An answer to an open question of the LAPS-SD paper. In our runs no rule was better than the best
    fixed K (docs/results/kernel-gittins.md).

    References
    ----------
    Ours, after LAPS-SD.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import LapsSDAdapted
    >>> result = lapsd.compare(
    ...     policies=[LapsSDAdapted(rule="quantiles")], requests=20, seeds=2, load=0.9
    ... )
    >>> result.table[["policy", "preemptions"]]
                               policy  preemptions
    0  laps-sd-adapted:rule=quantiles           32
    """

    name: ClassVar[str] = "laps-sd-adapted"
    ages: ClassVar[bool] = False

    rule: str = "present"
    active_count: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(1, dtype=np.int64),
        repr=False,
        compare=False,
        metadata={"bound": True},
    )
    bounds_by_count: NDArray[np.int64] = field(  # a row for each number of queues
        default_factory=lambda: np.zeros((0, 0), dtype=np.int64),
        repr=False,
        compare=False,
        metadata={"bound": True},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in RULES:
            raise ValueError(
                f"{self.name}: rule={self.rule} must be {', '.join(RULES[:-1])} or {RULES[-1]}"
            )

    def bind(self, context: PolicyContext) -> Self:
        bound = super().bind(context)
        if self.rule == "present":
            bounds = [replace(self, K=k).thresholds(context) for k in range(1, MOST + 1)]
        else:
            counts = range(1, max(MOST, self.K) + 1)
            bounds = [by_quantile(context.past_sizes_ns, k) for k in counts]
        rows = np.full((len(bounds), len(bounds)), NEVER, dtype=np.int64)
        for row, bounds_of_row in zip(rows, bounds, strict=True):
            row[: len(bounds_of_row)] = bounds_of_row
        return replace(bound, active_count=np.zeros(1, dtype=np.int64), bounds_by_count=rows)

    def thresholds(self, context: PolicyContext) -> tuple[int, ...]:
        """Return Sup_1 to Sup_{K−1} of LAPS-SD."""
        return super().bind(context).bounds_ns

    @property
    def queues(self) -> int:
        """Return the current K."""
        if self.rule == "quantiles":
            return self.K
        return max(FEWEST, MOST - doublings(int(self.active_count[0])))

    def queue_of(self, time_ns: int) -> int:
        return bisect_left(self.bounds_by_count[self.queues - 1], time_ns) + 1

    def rank(self, job: Job, now_ns: int) -> Rank:
        first, time_ns = self.place_in_queue(job)
        return (self.queue_of(self.placed_ns(job, time_ns)), first, time_ns)

    def on_event(self, event: Event) -> bool:
        before = self.queues
        self.active_count[0] += 1 if event.kind == "arrival" else -1
        return self.queues != before


def doublings(count: int) -> int:
    """Return how often 1 can be doubled up to a count, at least 0."""
    times = 0
    while count > 1:
        count //= 2
        times += 1
    return times


def by_quantile(sizes_ns: Sequence[int], queues: int) -> tuple[int, ...]:
    """Return thresholds between so many queues that put equally many past requests into each."""
    if queues == 1 or len(sizes_ns) < 2:
        return ()
    return tuple(max(1, round(cut)) for cut in quantiles(sizes_ns, n=queues))
