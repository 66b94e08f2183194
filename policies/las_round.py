"""Least attained service, decided every round."""

from dataclasses import dataclass
from typing import ClassVar

from policies.base import Job, Policy, Rank


@dataclass(frozen=True)
class LASRound(Policy):
    """Least attained service first, without queues: the limit of `las` for many narrow ones."""

    name: ClassVar[str] = "las-round"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (job.service_ns,)
