"""Shortest job first by predicted length and the request's true mean acceptance."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from policies.base import Job, Outlook, Policy, Rank


@dataclass(frozen=True)
class LPSJFMean(Policy):
    """Shortest predicted *rounds* first, never preempting: LP-SJF that also knows each request's mean acceptance.

    Rounds are the predicted length over the tokens that the request's rounds truly emit on average. Clairvoyant, as a
    control: beside LP-SJF it shows what knowing acceptance buys beyond knowing length.
    """

    name: ClassVar[str] = "lp-sjf-mean"
    clairvoyant: ClassVar[bool] = True

    outlook: Outlook | None = field(default=None, repr=False, metadata={"bound": True})

    def bind(self, outlook: Outlook) -> Self:
        return replace(self, outlook=outlook)

    def rank(self, job: Job, now_ns: int) -> Rank:
        assert self.outlook is not None, "bind the policy first"
        return (not job.started, job.predicted_tokens / self.outlook.true_tokens_per_round[job.index])
