"""Least attained service first, decided in every round."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Job, Policy, Rank


@dataclass(frozen=True)
class LASRound(Policy):
    """Least attained service first, without queues: the limit of `las` for many narrow queues."""

    name: ClassVar[str] = "las-round"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (job.service_ns,)
