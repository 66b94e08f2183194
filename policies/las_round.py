"""Least attained service first, decided in every round."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Job, Policy, Rank, Until


@dataclass(frozen=True)
class LASRound(Policy):
    """Least attained service first, without queues: the limit of `las` for many narrow queues."""

    name: ClassVar[str] = "las-round"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (job.service_ns,)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return (
            Until(service_ns=best_waiting[0] + 1, rising=True)
            if best_waiting
            else Until(rising=True)
        )
