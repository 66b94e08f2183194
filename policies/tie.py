"""Shortest expected length first, inflated by the tail of its distribution."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from lapsd.policies.base import TO_THE_END, Job, Policy, PolicyContext, Rank, Until
from lapsd.policies.request_history import RequestHistory

LONGEST = 0.1  # of a distribution: its tail


@dataclass(frozen=True)
class TIE(Policy):
    """Shortest *expected length with its tail* first, never preempting: LP-SJF by a distribution.

    After TIE (tail-inflated expectation), which fits a distribution of lengths to each request.
    Here it is that of past lengths, given the prediction; its tail is the mean of the longest
    tenth.

    Parameters
    ----------
    tail : share of the tail's mean beside the whole's, between 0 and 1.
    """

    name: ClassVar[str] = "tie"

    tail: float = 0.25
    history: RequestHistory = field(
        default_factory=RequestHistory, repr=False, compare=False, metadata={"bound": True}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.tail <= 1:
            raise ValueError(f"{self.name}: tail={self.tail} must be between 0 and 1")

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, history=context.history)

    def rank(self, job: Job, now_ns: int) -> Rank:
        tokens, share = self.history.lengths(job.predicted_tokens)
        in_tail = np.minimum(share, np.maximum(0, share.cumsum() - (1 - LONGEST)))
        longest = float((tokens * in_tail).sum() / in_tail.sum())
        return (
            not job.started,
            (1 - self.tail) * float((tokens * share).sum()) + self.tail * longest,
        )

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return TO_THE_END
