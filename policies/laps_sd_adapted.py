"""LAPS-SD whose queues follow the requests that are there, or the distribution of past times."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import quantiles
from typing import ClassVar, Self

from lapsd.policies.base import ONE_ROUND, Event, Job, PolicyContext, Rank, Until
from lapsd.policies.laps_sd import LapsSD, Perceived

RULES = ("present", "quantiles", "both")
FEWEST, MOST = 2, 8  # queues by requests present


@dataclass(frozen=True)
class LapsSDAdapted(LapsSD):
    """LAPS-SD with K by the requests present, thresholds at quantiles of past times, or both.

    The paper has its best K fall from 6 at 10 requests to 4 at 30, and leaves K that adapts open.
    Here K falls by one for each doubling of the requests that are there, from 8 with one to 2 with
    64 (`present`); or K stays and Sup_j is the j / K quantile of past T̃ (`quantiles`); or that
    with K by requests present (`both`). A request's queue is that of its service, or, once it is
    perceptible, of its remaining T̃, by the thresholds of the moment.

    Parameters
    ----------
    rule : `present`, `quantiles` or `both`.
    """

    name: ClassVar[str] = "laps-sd-adapted"

    rule: str = "present"
    there: list[int] = field(
        default_factory=lambda: [0], repr=False, compare=False, metadata={"bound": True}
    )
    by_queues: tuple[tuple[int, ...], ...] = field(default=(), repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in RULES:
            raise ValueError(
                f"{self.name}: rule={self.rule} must be {', '.join(RULES[:-1])} or {RULES[-1]}"
            )

    def bind(self, context: PolicyContext) -> Self:
        bound = super().bind(context)
        if self.rule == "present":
            made = [replace(self, K=k).thresholds(context) for k in range(1, MOST + 1)]
        else:
            made = [by_quantile(context.past_sizes_ns, k) for k in range(1, max(MOST, self.K) + 1)]
        return replace(bound, there=[0], by_queues=tuple(made))

    def thresholds(self, context: PolicyContext) -> tuple[int, ...]:
        """Sup_1 to Sup_{K−1} as LAPS-SD has them."""
        return super().bind(context).bounds_ns

    @property
    def queues(self) -> int:
        """K of the moment."""
        if self.rule == "quantiles":
            return self.K
        return max(FEWEST, MOST - int(math.log2(max(1, self.there[0]))))

    def queue_of(self, time_ns: int) -> int:
        return bisect_left(self.by_queues[self.queues - 1], time_ns) + 1

    def rank(self, job: Job, now_ns: int) -> Rank:
        _, first, time_ns = super().rank(job, now_ns)
        switch_penalty_ns = self.switch_penalty_ns if job.running else 0  # already taken off T̃
        placed_ns = (
            time_ns if isinstance(job.state, Perceived) else job.service_ns - switch_penalty_ns
        )
        return (self.queue_of(placed_ns), first, time_ns)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return ONE_ROUND

    def on_event(self, event: Event) -> bool:
        before = self.queues
        self.there[0] += 1 if event.kind == "arrival" else -1
        return self.queues != before


def by_quantile(sizes_ns: Sequence[int], queues: int) -> tuple[int, ...]:
    """Thresholds between so many queues that as many past requests belong to each."""
    if queues == 1 or len(sizes_ns) < 2:
        return ()
    return tuple(max(1, round(cut)) for cut in quantiles(sizes_ns, n=queues))
