"""A lower bound of the length that grows as it is reached."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import Job, Policy, PolicyContext, Rank, Until
from lapsd.policies.request_history import RequestHistory


@dataclass(frozen=True)
class AMin(Policy):
    """Smallest *lower bound of the output length* first, preemptive; what was emitted raises it.

    After A_min, which begins with the lower end of a predicted interval and refines it while a
    request runs. Here that end is a quantile of past lengths, given the prediction.

    Parameters
    ----------
    quantile : between 0 and 1.
    """

    name: ClassVar[str] = "a-min"

    quantile: float = 0.1
    history: RequestHistory = field(
        default_factory=RequestHistory, repr=False, compare=False, metadata={"bound": True}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"{self.name}: quantile={self.quantile} must be between 0 and 1")

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, history=context.history)

    def rank(self, job: Job, now_ns: int) -> Rank:
        tokens, share = self.history.lengths(job.predicted_tokens)
        below = int(share.cumsum().searchsorted(self.quantile))
        return (max(tokens[min(below, len(tokens) - 1)], job.tokens),)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        """The rank grows with tokens, once they reach it."""
        return (
            Until(rising=True)
            if best_waiting is None
            else Until(tokens=math.floor(best_waiting[0]) + 1, rising=True)
        )
