"""Shortest remaining processing time first, by true times."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import TO_THE_END, Clairvoyant, Job, Rank, Until


@dataclass(frozen=True)
class SRPT(Clairvoyant):
    """Least true remaining time (prefill and rounds) first, preemptive.

    Clairvoyant. Optimal only if all rounds take equally long, and prefill and switching no time.
    """

    name: ClassVar[str] = "srpt"

    def rank(self, job: Job, now_ns: int) -> Rank:
        prefill = 0 if job.started else self.truth.true_prefill_ns[job.index]
        return (prefill + self.truth.true_remaining_ns[job.index][job.rounds],)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return TO_THE_END
