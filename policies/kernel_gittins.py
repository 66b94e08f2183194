"""Shortest remaining time first, estimated from what similar past requests still needed.

The remaining time of a request is a distribution over past requests. A past request has a high
weight if its prediction and its tokens per round are close to the values of the request. The rank
is the Gittins index of that distribution, or its mean. `docs/beyond.md` derives it.
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
    """`kernel-gittins` ranks a request by the remaining time of similar past requests, shortest
    first.

    Parameters
    ----------
    index : str
        `gittins`: the least expected time per completion; `mean`: the mean remaining time.
    switch_penalty : float
        The rank of a running request is lower by so many times `switch_penalty_ns`, the total delay
        that its preemption would cause through swapping KV caches; 0: swapping is ignored.
    age_weight : float
        The rank of a request is lower by so many seconds for each second that it arrived earlier;
        0 gives the best mean latency.
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
        return replace(
            self,
            history=context.history,
            mean_round_ns=context.mean_round_ns,
            switch_penalty_ns=round(self.switch_penalty * switch_penalty_ns(context)),
        )

    def rank(self, job: Job, now_ns: int) -> Rank:
        offset = self.age_weight * job.arrival_ns - (self.switch_penalty_ns if job.running else 0)
        return (self.index_ns(job) + offset,)

    def index_ns(self, job: Job) -> float:
        """Return the index of the job's remaining time."""
        rounds = self.remaining_rounds_index(job.predicted_tokens, job.tokens, job.rounds)
        return rounds * self.mean_round_ns

    @property
    def known_history(self) -> RequestHistory:
        """Return the past requests that requests are compared with."""
        return self.history

    def remaining_rounds_index(self, predicted_tokens: int, tokens: int, rounds: int) -> float:
        """Return the index of the remaining rounds of a request after so many tokens and rounds.

        If no past request is similar, return the rounds that the rest of the predicted length
        needs, or, if the output has reached the prediction, as many rounds as the request has had.
        """
        history = self.known_history
        remaining, weight = history.remaining_rounds(predicted_tokens, tokens, rounds)
        if not len(remaining):
            return (
                (predicted_tokens - tokens) / history.tokens_per_round
                if predicted_tokens > tokens
                else float(rounds)
            )
        if self.index == "mean":
            return float(np.add.reduce(remaining * weight) / np.add.reduce(weight))
        return inverse_index(remaining, weight)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        """Run until the rank passes the best waiting one: it changes only with the job's rounds."""
        if best_waiting is None:
            return RISING
        index_ns = job.ahead((self.history, self.mean_round_ns, self.index), self.index_ns)[
            job.rounds + 1 :
        ]
        passes = (
            index_ns + (self.age_weight * job.arrival_ns - self.switch_penalty_ns) > best_waiting[0]
        )
        if not len(passes) or not passes[first := int(passes.argmax())]:
            return RISING
        return Until(rounds=job.rounds + 1 + first, rising=True)


@dataclass(frozen=True)
class KernelGittinsOracle(KernelGittins):
    """`kernel-gittins` with the requests of the test half as its history: the most that it can
    know.

    Clairvoyant: a real server does not have this history.
    """

    name: ClassVar[str] = "kernel-gittins-oracle"
    clairvoyant: ClassVar[bool] = True
