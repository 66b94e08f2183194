"""Least attained service first, in a number of queues."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, ClassVar, Self

from lapsd.policies.base import NEVER, Job, Policy, PolicyContext, Rank

LONGEST_S = 1e9


@dataclass(frozen=True)
class LAS(Policy):
    """K queues by attained service; a higher queue preempts a lower one, and each queue serves in
    order of entry.

    Queue j holds requests with service up to Sup_j = M^(j−1) · Sup_1; the last queue has no upper
    limit.

    Parameters
    ----------
    K : int
        Number of queues, at least 1.
    M : float
        Ratio of successive thresholds, above 1.
    sup_1_s : float or None
        Sup_1 in seconds; None: the median past T̃ / M^(K/2).
    age_s : float or None
        Total seconds of waiting that raise a request by one queue; None: a request never rises.

    Notes
    -----
    Use it where output lengths are not predicted: a short request need not wait for long ones to
    finish.

    References
    ----------
    A baseline of the LAPS-SD paper (Li, Chen, Li, arXiv 2505.17074; we had no access to its text).

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import LAS
    >>> result = lapsd.compare(policies=[LAS(K=6)], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
        policy  preemptions
    0  las:K=6           47
    """

    name: ClassVar[str] = "las"

    K: int = 4
    M: float = 2.0
    sup_1_s: float | None = None
    age_s: float | None = None
    bounds_ns: tuple[int, ...] = field(default=(), repr=False, metadata={"bound": True})
    age_ns: int = field(default=0, repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        if not 1 <= self.K <= 64:
            raise ValueError(f"{self.name}: K={self.K} must be between 1 and 64")
        if not 1 < self.M <= 1000:
            raise ValueError(f"{self.name}: M={self.M} must be above 1, and at most 1000")
        for name, value in (("sup_1_s", self.sup_1_s), ("age_s", self.age_s)):
            if value is not None and not 0 < value <= LONGEST_S:
                raise ValueError(
                    f"{self.name}: {name}={value} must be above 0, and at most {LONGEST_S:g}"
                )

    def bind(self, context: PolicyContext) -> Self:
        return replace(self, **self._queues(context))

    def _queues(self, context: PolicyContext) -> dict[str, Any]:
        """Return the bound fields: the limits of the queues, and the time that raises a job."""
        sup_1 = (
            self.sup_1_s * 1e9
            if self.sup_1_s
            else median(context.past_sizes_ns) / self.M ** (self.K / 2)
        )
        sups = (min(sup_1 * self.M**j, LONGEST_S * 1e9) for j in range(self.K - 1))
        bounds = tuple(max(1, math.floor(sup)) for sup in sups)
        return {"bounds_ns": bounds, "age_ns": max(1, round(self.age_s * 1e9)) if self.age_s else 0}

    def derived_values(self) -> dict[str, Any]:
        return {"thresholds_s": [bound / 1e9 for bound in self.bounds_ns]}

    def queue_of(self, time_ns: int) -> int:
        """Return the first queue j with time <= Sup_j."""
        return bisect_left(self.bounds_ns, time_ns) + 1

    @property
    def ages(self) -> bool:  # type: ignore[override]
        """Whether waiting requests rise."""
        return self.age_ns > 0

    def level(self, job: Job, now_ns: int) -> int:
        """Return the number of the job's queue after ageing; only with `age_s`."""
        return max(1, job.queue - (now_ns - job.arrival_ns - job.service_ns) // self.age_ns)

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (self.level(job, now_ns) if self.age_ns else job.queue,)

    def on_round(self, job: Job, now_ns: int) -> None:
        job.queue = self.queue_of(job.service_ns)

    def wake(self, job: Job, now_ns: int) -> int:
        if not self.age_ns or self.level(job, now_ns) == 1:
            return NEVER
        served_ns = job.arrival_ns + job.service_ns
        return served_ns + ((now_ns - served_ns) // self.age_ns + 1) * self.age_ns
