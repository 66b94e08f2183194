"""Shortest job first by predicted output length."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Job, Policy, Rank


@dataclass(frozen=True)
class LPSJF(Policy):
    """Shortest *predicted length* first, without preemption: a baseline of the LAPS-SD paper.

    We do not know whether LP-SJF preempts in the paper; here it does not.
    """

    name: ClassVar[str] = "lp-sjf"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (not job.started, job.predicted_tokens)
