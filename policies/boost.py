"""Boost: first come, first served by arrival times that are earlier for shorter requests."""

import math
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import ClassVar, Self

from lapsd.policies.base import Job, NewJob, Policy, PolicyContext, Rank
from lapsd.policies.request_history import RequestHistory


@dataclass(frozen=True)
class Boost(Policy):
    """Earliest *boosted arrival* first, preemptive: arrival − ln(1 / (1 − exp(−θ · s))) / θ, where
    s is the expected time of the request.

    After Boost (Yu and Scully, arXiv 2404.08826), which is made for the tail of latencies. A small
    θ is close to shortest first, a large θ to first come, first served. s is the mean time of past
    requests, given the prediction.

    Parameters
    ----------
    theta : float
        θ times the mean time of past requests.

    Notes
    -----
    Use it where the tail of latencies matters more than their mean.

    References
    ----------
    Yu, Scully, arXiv 2404.08826.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import Boost
    >>> result = lapsd.compare(policies=[Boost(theta=0.5)], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
                policy  preemptions
    0  boost:theta=0.5           11
    """

    name: ClassVar[str] = "boost"

    @dataclass(slots=True)
    class State:
        """The difference between the boosted arrival and the arrival, in nanoseconds."""

        boost_ns: float = 0.0

    theta: float = 0.3
    history: RequestHistory = field(
        default_factory=RequestHistory, repr=False, compare=False, metadata={"bound": True}
    )
    mean_round_ns: int = field(default=1, repr=False, metadata={"bound": True})
    mean_size_ns: float = field(default=1.0, repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        if not 1e-6 <= self.theta <= 1000:
            raise ValueError(f"{self.name}: theta={self.theta} must be between 1e-06 and 1000")

    def bind(self, context: PolicyContext) -> Self:
        size = max(1.0, float(mean(context.past_sizes_ns)))
        return replace(
            self, history=context.history, mean_round_ns=context.mean_round_ns, mean_size_ns=size
        )

    def on_arrival(self, job: NewJob) -> None:
        tokens, probability = self.history.length_distribution(job.predicted_tokens)
        rounds = float((tokens * probability).sum()) / self.history.tokens_per_round
        per_ns = self.theta / self.mean_size_ns
        job.state.boost_ns = math.log(-math.expm1(-per_ns * rounds * self.mean_round_ns)) / per_ns

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (job.arrival_ns + job.state.boost_ns,)
