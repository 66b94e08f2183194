"""Shortest predicted remaining length first."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import TO_THE_END, Job, Policy, PolicyContext, Rank, Until
from lapsd.policies.switch_penalty import switch_penalty_ns

FIRST = (-math.inf,)


@dataclass(frozen=True)
class LPSRPT(Policy):
    """Fewest *predicted tokens left* first, preemptive: what a length prediction alone can do.

    An output that runs past its prediction has nothing left, and goes first.

    Parameters
    ----------
    c : a request that has emitted so much of its predicted length is not preempted any more, as in
        TRAIL (0: once begun, never); None: it always may be.
    switch_penalty : a request that runs is ahead by so many times what its stopping would cost all in moves.
    """

    name: ClassVar[str] = "lp-srpt"

    c: float | None = None
    switch_penalty: float = 0.0
    lead: float = field(default=0.0, repr=False, metadata={"bound": True})  # tokens

    def __post_init__(self) -> None:
        if self.c is not None and not 0 <= self.c <= 1000:
            raise ValueError(f"{self.name}: c={self.c} must be between 0 and 1000")
        if not 0 <= self.switch_penalty <= 1000:
            raise ValueError(
                f"{self.name}: switch_penalty={self.switch_penalty} must be between 0 and 1000"
            )

    def bind(self, context: PolicyContext) -> Self:
        rounds = switch_penalty_ns(context) / context.mean_round_ns
        return replace(self, lead=self.switch_penalty * rounds * context.history.tokens_per_round)

    def rank(self, job: Job, now_ns: int) -> Rank:
        if self.c is not None and job.started and job.tokens >= self.c * job.predicted_tokens:
            return FIRST
        left = max(0, job.predicted_tokens - job.tokens)
        return (left - self.lead,) if self.lead and job.running else (left,)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return TO_THE_END
