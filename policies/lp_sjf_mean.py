"""Shortest job first by predicted length and the request's true mean acceptance."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import TO_THE_END, Clairvoyant, Job, Rank, Until


@dataclass(frozen=True)
class LPSJFMean(Clairvoyant):
    """Shortest predicted *rounds* first, never preempting: LP-SJF that also knows each request's
    mean acceptance.

    Rounds are the predicted length over the tokens that the request's rounds truly emit on average.
    Clairvoyant, as a control: beside LP-SJF it shows what knowing acceptance buys beyond knowing
    length.
    """

    name: ClassVar[str] = "lp-sjf-mean"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (not job.started, job.predicted_tokens / self.truth.true_tokens_per_round[job.index])

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return TO_THE_END
