"""Shortest remaining time first, estimated from what similar past requests still needed.

The remaining time of a request is a distribution over past requests. A past request has a high
weight if its prediction and its tokens per round are close to the values of the request. The rank
is the Gittins index of that distribution, or its mean. `docs/beyond.md` derives it.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.base import Job, NewJob, Policy, PolicyContext, Rank, Until
from lapsd.policies.gittins import inverse_index
from lapsd.policies.request_history import RequestHistory
from lapsd.policies.similar_requests import SimilarRequests
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

    @dataclass(slots=True)
    class State:
        """The number in `SimilarRequests` of the predicted length of a request."""

        similar: int = 0

    index: str = "gittins"
    switch_penalty: float = 1.0
    age_weight: float = 0.0
    history: RequestHistory = field(
        default_factory=RequestHistory, repr=False, compare=False, metadata={"bound": True}
    )
    mean_round_ns: int = field(default=1, repr=False, metadata={"bound": True})
    switch_penalty_ns: int = field(default=0, repr=False, metadata={"bound": True})
    similar: SimilarRequests = field(
        default_factory=lambda: SimilarRequests(RequestHistory()),
        repr=False,
        compare=False,
        metadata={"bound": True},
    )
    tokens_per_round: float = field(
        default=1.0, repr=False, compare=False, metadata={"bound": True}
    )

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
            similar=SimilarRequests(context.history),
            tokens_per_round=context.history.tokens_per_round,
            mean_round_ns=context.mean_round_ns,
            switch_penalty_ns=round(self.switch_penalty * switch_penalty_ns(context)),
        )

    def rank(self, job: Job, now_ns: int) -> Rank:
        offset = self.age_weight * job.arrival_ns - (self.switch_penalty_ns if job.running else 0)
        return (self.index_ns(job) + offset,)

    def on_arrival(self, job: NewJob) -> None:
        job.state.similar = self.similar.number_of(job.predicted_tokens)

    def index_ns(self, job: Job) -> float:
        """Return the index of the job's remaining time.

        If no past request is similar, it is the time that the rest of the predicted length needs,
        or, if the output has reached the prediction, that of as many rounds as the job has had.
        """
        remaining, weight = self.remaining_rounds(job)
        if len(remaining) > 0:
            return self.index_of(remaining, weight) * self.mean_round_ns
        rounds = float(job.rounds)
        if job.predicted_tokens > job.tokens:
            rounds = (job.predicted_tokens - job.tokens) / self.known_tokens_per_round()
        return rounds * self.mean_round_ns

    def remaining_rounds(self, job: Job) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the remaining rounds of similar past requests, and their weights."""
        return self.similar.remaining_rounds(job.state.similar, job.tokens, job.rounds)

    def known_tokens_per_round(self) -> float:
        """Return the tokens per round of all past requests."""
        return self.tokens_per_round

    def index_of(self, remaining: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
        """Return the index of weighted values."""
        if self.index == "mean":
            return float((remaining * weight).cumsum()[-1] / weight.cumsum()[-1])
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
