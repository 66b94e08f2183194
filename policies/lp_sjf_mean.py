"""Shortest job first by predicted length and true mean acceptance."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import TO_THE_END, Clairvoyant, Job, Rank, Until


@dataclass(frozen=True)
class LPSJFMean(Clairvoyant):
    """Fewest predicted *rounds* first, without preemption: LP-SJF that also knows the true mean
    acceptance of each request.

    The number of rounds is the predicted length divided by the true mean number of output tokens
    per round. Clairvoyant, as a control: its difference from LP-SJF is the gain from knowing
    acceptance in addition to length.
    """

    name: ClassVar[str] = "lp-sjf-mean"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (not job.started, job.predicted_tokens / self.truth.true_tokens_per_round[job.index])

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return TO_THE_END
