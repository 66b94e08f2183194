"""Least attained service first, decided in every round."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Job, Policy, Rank


@dataclass(frozen=True)
class LASRound(Policy):
    """Least attained service first, without queues: the limit of `las` for many narrow queues.

    Notes
    -----
    Use it where preemption is free; with KV transfers it switches too often.

    References
    ----------
    Textbook (foreground-background).
    """

    name: ClassVar[str] = "las-round"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (job.service_ns,)
