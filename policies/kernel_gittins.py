"""Shortest remaining time first, by what past requests like this one still took.

What remains of a request is a distribution: of the past requests that it may be like, given its
prediction, what it has emitted and how fast. Its Gittins index, or its mean, is the rank.
`docs/beyond.md` derives it.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from lapsd.policies.base import Job, Policy, PolicyContext, Rank, Until
from lapsd.policies.gittins import inverse_index
from lapsd.policies.request_history import RequestHistory
from lapsd.policies.switch_penalty import switch_penalty_ns

RISING = Until(rising=True)


@dataclass(frozen=True)
class KernelGittins(Policy):
    """Least remaining time of past requests like this one first.

    Parameters
    ----------
    index : `gittins`, the least expected service a completion, or `mean`.
    switch_penalty : a request that runs is ahead by so many times what its stopping would cost all in moves.
    age_weight : a request is ahead by so much of each second for which it has been there longer; 0:
    the mean's best.
    """

    name: ClassVar[str] = "kernel-gittins"

    index: str = "gittins"
    switch_penalty: float = 1.0
    age_weight: float = 0.0
    history: RequestHistory = field(
        default_factory=RequestHistory, repr=False, compare=False, metadata={"bound": True}
    )
    mean_round_ns: int = field(default=1, repr=False, metadata={"bound": True})
    switch_penalty_ns: int = field(default=0, repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        if self.index not in ("gittins", "mean"):
            raise ValueError(f"{self.name}: index={self.index} must be gittins or mean")
        for name, most in (("switch_penalty", 1000), ("age_weight", 1e6)):
            if not 0 <= (value := getattr(self, name)) <= most:
                raise ValueError(f"{self.name}: {name}={value} must be between 0 and {most:g}")

    def bind(self, context: PolicyContext) -> Self:
        lead = round(self.switch_penalty * switch_penalty_ns(context))
        return replace(
            self,
            history=context.history,
            mean_round_ns=context.mean_round_ns,
            switch_penalty_ns=lead,
        )

    def rank(self, job: Job, now_ns: int) -> Rank:
        behind = self.age_weight * job.arrival_ns - (self.switch_penalty_ns if job.running else 0)
        return (self.index_ns(job) + behind,)

    def index_ns(self, job: Job) -> float:
        """The index of the job's remaining time."""
        return self.rounds_left(job.predicted_tokens, job.tokens, job.rounds) * self.mean_round_ns

    @property
    def known_history(self) -> RequestHistory:
        """Whom requests are held against."""
        return self.history

    def rounds_left(self, predicted_tokens: int, tokens: int, rounds: int) -> float:
        """The index of the remaining rounds, of a request that has had so many tokens and rounds.

        Where the past tells nothing: what its prediction leaves, or, beyond that, as many rounds as
        it has had.
        """
        history = self.known_history
        left, weight = history.left(predicted_tokens, tokens, rounds)
        if not len(left):
            return (
                (predicted_tokens - tokens) / history.tokens_per_round
                if predicted_tokens > tokens
                else float(rounds)
            )
        if self.index == "mean":
            return float(np.add.reduce(left * weight) / np.add.reduce(weight))
        return inverse_index(left, weight)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        """Nothing but the job's own record moves its rank: until it passes the best waiting one."""
        if best_waiting is None:
            return RISING
        left = job.ahead((self.history, self.mean_round_ns, self.index), self.index_ns)[
            job.rounds + 1 :
        ]
        passes = (
            left + (self.age_weight * job.arrival_ns - self.switch_penalty_ns) > best_waiting[0]
        )
        if not len(passes) or not passes[first := int(passes.argmax())]:
            return RISING
        return Until(rounds=job.rounds + 1 + first, rising=True)


@dataclass(frozen=True)
class KernelGittinsOracle(KernelGittins):
    """`kernel-gittins` whose past are the very requests that workloads are drawn from: the most that it
    could know.

    Clairvoyant: nobody has that past.
    """

    name: ClassVar[str] = "kernel-gittins-oracle"
    clairvoyant: ClassVar[bool] = True
