"""The Gittins index of an empirical distribution of sizes."""

import math
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.base import Job, Lengths, NewJob, Policy, PolicyContext, Rank


@dataclass(frozen=True)
class Gittins(Policy):
    """Highest Gittins index of the attained service first: the best order if only the distribution
    of sizes is known.

    The Gittins index of a job with attained service a is the maximum over d of P(S − a <= d) /
    E[min(S − a, d)], where S is a past size above a. The rank is its inverse, the least expected
    service per completion. This order minimises mean latency for M/G/1 with free preemption. A job
    whose attained service has reached the largest past size goes last.

    Notes
    -----
    Use it where output lengths are not predicted, but the times of past requests are known.

    References
    ----------
    Scully, Harchol-Balter, Scheller-Wolf, arXiv 1712.00790.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import Gittins
    >>> result = lapsd.compare(policies=[Gittins()], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
        policy  preemptions
    0  gittins           24
    """

    name: ClassVar[str] = "gittins"

    @dataclass(slots=True)
    class State:
        """The rank of a request, which depends on its attained service."""

        service_per_completion: float = 0.0

    sizes_ns: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64),
        repr=False,
        compare=False,
        metadata={"bound": True},
    )

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, sizes_ns=np.sort(np.array(context.past_sizes_ns, dtype=np.int64)))

    def largest_ns(self, lengths: Lengths) -> int:
        return len(self.sizes_ns) * int(self.sizes_ns.max(initial=0))

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (job.state.service_per_completion,)

    def on_arrival(self, job: NewJob) -> None:
        job.state.service_per_completion = self.service_per_completion(0)

    def on_round(self, job: Job, now_ns: int) -> None:
        job.state.service_per_completion = self.service_per_completion(job.service_ns)

    def service_per_completion(self, attained_ns: int) -> float:
        """Return the minimum over d of E[min(S − a, d)] / P(S − a <= d); infinity if no past size
        is above a.
        """
        remaining = self.sizes_ns[bisect_right(self.sizes_ns, attained_ns) :] - attained_ns
        if len(remaining) == 0:
            return math.inf
        finished = np.arange(1, len(remaining) + 1)
        # each finished request spends all its remaining service, every other one spends d
        spent = np.cumsum(remaining) + remaining * (len(remaining) - finished)
        return float((spent / finished).min())


def inverse_index(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Return the inverse Gittins index of weighted values X, in any order: the minimum over d of
    E[min(X, d)] / P(X <= d).
    """
    order = values.argsort(kind="stable")
    values, weight = values[order], weight[order]
    finished = weight.cumsum()
    spent = (values * weight).cumsum()
    spent += values * (finished[-1] - finished)  # every unfinished request spends d
    spent /= finished
    return float(spent.min())
