"""LAPS-SD with queues that adapt to the number of active requests, or to past times."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import quantiles
from typing import ClassVar, Self

from lapsd.policies.base import ONE_ROUND, Event, Job, PolicyContext, Rank, Until
from lapsd.policies.laps_sd import LapsSD, Perceived

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
    """

    name: ClassVar[str] = "laps-sd-adapted"

    rule: str = "present"
    active_count: list[int] = field(
        default_factory=lambda: [0], repr=False, compare=False, metadata={"bound": True}
    )
    bounds_by_count: tuple[tuple[int, ...], ...] = field(
        default=(), repr=False, metadata={"bound": True}
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
        return replace(bound, active_count=[0], bounds_by_count=tuple(bounds))

    def thresholds(self, context: PolicyContext) -> tuple[int, ...]:
        """Return Sup_1 to Sup_{K−1} of LAPS-SD."""
        return super().bind(context).bounds_ns

    @property
    def queues(self) -> int:
        """Return the current K."""
        if self.rule == "quantiles":
            return self.K
        return max(FEWEST, MOST - int(math.log2(max(1, self.active_count[0]))))

    def queue_of(self, time_ns: int) -> int:
        return bisect_left(self.bounds_by_count[self.queues - 1], time_ns) + 1

    def rank(self, job: Job, now_ns: int) -> Rank:
        _, first, time_ns = super().rank(job, now_ns)
        switch_penalty_ns = self.switch_penalty_ns if job.running else 0  # T̃ is reduced already
        placed_ns = (
            time_ns if isinstance(job.state, Perceived) else job.service_ns - switch_penalty_ns
        )
        return (self.queue_of(placed_ns), first, time_ns)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return ONE_ROUND

    def on_event(self, event: Event) -> bool:
        before = self.queues
        self.active_count[0] += 1 if event.kind == "arrival" else -1
        return self.queues != before


def by_quantile(sizes_ns: Sequence[int], queues: int) -> tuple[int, ...]:
    """Return thresholds between so many queues that put equally many past requests into each."""
    if queues == 1 or len(sizes_ns) < 2:
        return ()
    return tuple(max(1, round(cut)) for cut in quantiles(sizes_ns, n=queues))
