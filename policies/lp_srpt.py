"""Shortest predicted remaining length first."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import Job, Policy, PolicyContext, Rank
from lapsd.policies.switch_penalty import switch_penalty_ns

FIRST = (-math.inf,)


@dataclass(frozen=True)
class LPSRPT(Policy):
    """Fewest *predicted remaining tokens* first, preemptive: order by a length prediction alone.

    A request that has reached its predicted length has 0 remaining tokens, and goes first.

    Parameters
    ----------
    c : float or None
        Share of its predicted length after which a request is not preempted any more, as in TRAIL
        (0: never after its start); None: every request may be preempted.
    switch_penalty : float
        The rank of a running request is lower by so many times `switch_penalty_ns`, the total delay
        that its preemption would cause through swapping KV caches, converted to tokens.

    Notes
    -----
    Use it where output lengths are predicted well and preemption is inexpensive. It ignores
    acceptance.

    References
    ----------
    Textbook SRPT by predicted tokens; `c` after TRAIL.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import LPSRPT
    >>> result = lapsd.compare(policies=[LPSRPT(c=0.8)], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
              policy  preemptions
    0  lp-srpt:c=0.8           13
    """

    name: ClassVar[str] = "lp-srpt"

    c: float | None = None
    switch_penalty: float = 0.0
    penalty_tokens: float = field(default=0.0, repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        if self.c is not None and not 0 <= self.c <= 1000:
            raise ValueError(f"{self.name}: c={self.c} must be between 0 and 1000")
        if not 0 <= self.switch_penalty <= 1000:
            raise ValueError(
                f"{self.name}: switch_penalty={self.switch_penalty} must be between 0 and 1000"
            )

    def bind(self, context: PolicyContext) -> Self:
        rounds = switch_penalty_ns(context) / context.mean_round_ns
        tokens = self.switch_penalty * rounds * context.history.tokens_per_round
        return replace(self, penalty_tokens=tokens)

    def rank(self, job: Job, now_ns: int) -> Rank:
        if self.c is not None and job.started and job.tokens >= self.c * job.predicted_tokens:
            return FIRST
        remaining = float(max(0, job.predicted_tokens - job.tokens))
        return (remaining - self.penalty_tokens if job.running else remaining,)
