"""The Gittins index of an empirical distribution of sizes."""

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.base import TO_THE_END, Job, Policy, PolicyContext, Rank, Until


@dataclass(frozen=True)
class Gittins(Policy):
    """Highest Gittins index of attained service first: the best that one can do who knows only how
    sizes distribute.

    The index of a job that has had a: the most, over d, of P(S − a <= d) / E[min(S − a, d)], S a
    past size above a. The rank is its inverse, the least expected service a completion. Optimal for
    M/G/1 with free preemption; past the largest size nothing is known, and a job goes last. See
    Scully, Harchol-Balter, Scheller-Wolf, arXiv 1712.00790.
    """

    name: ClassVar[str] = "gittins"

    sizes_ns: tuple[int, ...] = field(default=(), repr=False, metadata={"bound": True})

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, sizes_ns=tuple(sorted(context.past_sizes_ns)))

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (self.service_a_completion(job.service_ns),)

    def service_a_completion(self, attained_ns: int) -> float:
        """min over d of E[min(S − a, d)] / P(S − a <= d)."""
        sizes = np.asarray(self.sizes_ns)
        left = sizes[np.searchsorted(sizes, attained_ns, side="right") :] - attained_ns
        if not len(left):
            return float("inf")
        finished = np.arange(1, len(left) + 1)
        spent = np.cumsum(left) + left * (
            len(left) - finished
        )  # those that finish, and d of each that does not
        return float((spent / finished).min())

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        """Between two past sizes every term falls with service; at the next one its own term is
        gone.
        """
        larger = bisect_right(self.sizes_ns, job.service_ns)
        return (
            Until(service_ns=self.sizes_ns[larger]) if larger < len(self.sizes_ns) else TO_THE_END
        )


def inverse_index(left: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """The inverse Gittins index of weighted values left, in any order: min over d of E[min(X, d)] /
    P(X <= d).
    """
    order = left.argsort(kind="stable")
    left, weight = left[order], weight[order]
    finished = weight.cumsum()
    spent = (left * weight).cumsum()
    spent += left * (finished[-1] - finished)  # those that finish, and d of each that does not
    spent /= finished
    return float(np.minimum.reduce(spent))
