"""Shortest expected length first, increased by the tail of the length distribution."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from lapsd.policies.base import Job, NewJob, Policy, PolicyContext, Rank
from lapsd.policies.request_history import RequestHistory

TAIL_SHARE = 0.1  # share of a distribution that is its tail


@dataclass(frozen=True)
class TIE(Policy):
    """Shortest *tail-inflated expected length* first, without preemption.

    After TIE (tail-inflated expectation), which fits a distribution of lengths to each request.
    Here it is the distribution of past lengths, given the prediction. The rank is the weighted sum
    of its mean and of the mean of its longest tenth, the tail.

    Parameters
    ----------
    tail : float
        Weight of the mean of the tail, between 0 and 1; the mean of the whole has weight 1 − tail.

    Notes
    -----
    Use it where preemption is expensive or impossible, and some requests become much longer than
    predicted.

    References
    ----------
    After TIE, as far as we know it; we had no access to its text.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import TIE
    >>> result = lapsd.compare(policies=[TIE(tail=0.5)], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
             policy  preemptions
    0  tie:tail=0.5            0
    """

    name: ClassVar[str] = "tie"

    @dataclass(slots=True)
    class State:
        """The tail-inflated expected length of a request, in tokens."""

        expected_tokens: float = 0.0

    tail: float = 0.25
    history: RequestHistory = field(
        default_factory=RequestHistory, repr=False, compare=False, metadata={"bound": True}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.tail <= 1:
            raise ValueError(f"{self.name}: tail={self.tail} must be between 0 and 1")

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, history=context.history)

    def on_arrival(self, job: NewJob) -> None:
        tokens, probability = self.history.length_distribution(job.predicted_tokens)
        in_tail = np.minimum(probability, np.maximum(0, probability.cumsum() - (1 - TAIL_SHARE)))
        tail_mean = float((tokens * in_tail).sum() / in_tail.sum())
        mean = float((tokens * probability).sum())
        job.state.expected_tokens = (1 - self.tail) * mean + self.tail * tail_mean

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (not job.started, job.state.expected_tokens)
