"""Shortest predicted remaining length first."""

from dataclasses import dataclass
from typing import ClassVar

from policies.base import TO_THE_END, Job, Policy, Rank, Until


@dataclass(frozen=True)
class LPSRPT(Policy):
    """Fewest *predicted tokens left* first, preemptive: what a length prediction alone can do.

    An output that runs past its prediction has nothing left, and goes first.
    """

    name: ClassVar[str] = "lp-srpt"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (max(0, job.predicted_tokens - job.tokens),)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return TO_THE_END
