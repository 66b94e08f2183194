"""Rank by a lower bound of the output length, which rises with the emitted tokens."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import Job, NewJob, Policy, PolicyContext, Rank
from lapsd.policies.request_history import RequestHistory


@dataclass(frozen=True)
class AMin(Policy):
    """Smallest *lower bound of the output length* first, preemptive.

    A_min starts from the lower end of a predicted interval of lengths and raises it while the
    request runs. Here the lower end is a quantile of past output lengths, given the prediction;
    the bound is never less than the number of tokens emitted so far.

    Parameters
    ----------
    quantile : float
        Quantile of past output lengths that is the first lower bound, between 0 and 1.

    Notes
    -----
    Use it where a prediction gives no more than a range of lengths.

    References
    ----------
    After A_min, as far as we know it; we had no access to its text.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import AMin
    >>> result = lapsd.compare(
    ...     policies=[AMin(quantile=0.2)], requests=20, seeds=2, load=0.9
    ... )
    >>> result.table[["policy", "preemptions"]]
                   policy  preemptions
    0  a-min:quantile=0.2           33
    """

    name: ClassVar[str] = "a-min"

    @dataclass(slots=True)
    class State:
        """The lower bound of the output length when the request arrives, in tokens."""

        least_tokens: float = 0.0

    quantile: float = 0.1
    history: RequestHistory = field(
        default_factory=RequestHistory, repr=False, compare=False, metadata={"bound": True}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"{self.name}: quantile={self.quantile} must be between 0 and 1")

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, history=context.history)

    def on_arrival(self, job: NewJob) -> None:
        tokens, probability = self.history.length_distribution(job.predicted_tokens)
        row = int(probability.cumsum().searchsorted(self.quantile))
        job.state.least_tokens = float(tokens[min(row, len(tokens) - 1)])

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (max(job.state.least_tokens, float(job.tokens)),)
