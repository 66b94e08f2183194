"""Shortest remaining time first, estimated from what similar past requests still needed.

The remaining time of a request is a distribution over past requests. A past request has a high
weight if its prediction and its tokens per round are close to the values of the request. The rank
is the Gittins index of that distribution, or its mean. `docs/results/kernel-gittins.md` derives it.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import Job, NewJob, Policy, PolicyContext, Rank
from lapsd.policies.gittins import inverse_index
from lapsd.policies.request_history import RequestHistory
from lapsd.policies.similar_requests import Floats, SimilarRequests
from lapsd.policies.switch_penalty import switch_penalty_ns


@dataclass(frozen=True)
class KernelGittins(Policy):
    """Shortest expected remaining time first, by the remaining times of similar past requests.

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

    Notes
    -----
    Use it where past requests are known; predictions may be weak, biased or missing. Where KV
    transfers are expensive in batches, compare it with `lp-srpt:switch_penalty=1`.

    References
    ----------
    Ours (docs/results/kernel-gittins.md).

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import KernelGittins
    >>> result = lapsd.compare(
    ...     policies=[KernelGittins(switch_penalty=0.0)], requests=20, seeds=2, load=0.9
    ... )
    >>> result.table[["policy", "preemptions"]]
                                policy  preemptions
    0  kernel-gittins:switch_penalty=0           16
    """

    name: ClassVar[str] = "kernel-gittins"

    @dataclass(slots=True)
    class State:
        """The estimate of a request.

        Attributes
        ----------
        similar : int
            Number of its predicted length in `SimilarRequests`.
        index_ns : float
            Index of its remaining time.
        """

        similar: int = 0
        index_ns: float = 0.0

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
            switch_penalty_ns=switch_penalty_ns(context, self.switch_penalty),
        )

    def rank(self, job: Job, now_ns: int) -> Rank:
        offset = self.age_weight * job.arrival_ns - (self.switch_penalty_ns if job.running else 0)
        return (self.index_ns(job) + offset,)

    def index_ns(self, job: Job) -> float:
        """Return the index of the job's remaining time."""
        index_ns: float = job.state.index_ns
        return index_ns

    def on_arrival(self, job: NewJob) -> None:
        number = self.similar.number_of(job.predicted_tokens)
        job.state.similar = number
        job.state.index_ns = self.estimate_ns(number, job.predicted_tokens, 0, 0)

    def on_round(self, job: Job, now_ns: int) -> None:
        job.state.index_ns = self.estimate_ns(
            job.state.similar, job.predicted_tokens, job.tokens, job.rounds
        )

    def estimate_ns(self, number: int, predicted_tokens: int, tokens: int, rounds: int) -> float:
        """Return the index of the remaining time of a request after so many tokens and rounds.

        O(MAX_NEIGHBOURS log MAX_NEIGHBOURS).
        """
        remaining, weight = self.similar.remaining_rounds(number, tokens, rounds)
        if len(remaining) > 0:
            return self.weighted_ns(remaining, weight)
        return self.unlike_ns(predicted_tokens - tokens, rounds, self.tokens_per_round)

    def weighted_ns(self, remaining: Floats, weight: Floats) -> float:
        """Return the index of weighted numbers of rounds."""
        if self.index == "mean":
            index = float((remaining * weight).cumsum()[-1] / weight.cumsum()[-1])
        else:
            index = inverse_index(remaining, weight)
        return index * self.mean_round_ns

    def unlike_ns(self, left: int, rounds: int, tokens_per_round: float) -> float:
        """Return the estimate for a request that no past request is similar to: the time of `left`
        predicted tokens, or, if none is left, that of as many rounds as it has had.
        """
        return (left / tokens_per_round if left > 0 else float(rounds)) * self.mean_round_ns


@dataclass(frozen=True)
class KernelGittinsOracle(KernelGittins):
    """`kernel-gittins` with the requests of the test half as its history: the most that it can
    know.

    Clairvoyant: a real server does not have this history.

    Notes
    -----
    A reference: how much of the latency of `kernel-gittins` is due to what its history does not
    say.

    References
    ----------
    Ours (docs/results/kernel-gittins.md).

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import KernelGittinsOracle
    >>> result = lapsd.compare(
    ...     policies=[KernelGittinsOracle()], requests=20, seeds=2, load=0.9
    ... )
    >>> result.table[["policy", "preemptions"]]
                      policy  preemptions
    0  kernel-gittins-oracle           17
    """

    name: ClassVar[str] = "kernel-gittins-oracle"
    clairvoyant: ClassVar[bool] = True
