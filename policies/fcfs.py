"""First come, first served."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Job, Policy, Rank


@dataclass(frozen=True)
class FCFS(Policy):
    """First come, first served; a request that has started runs to completion.

    Notes
    -----
    The baseline of every comparison.

    References
    ----------
    Textbook; the default order of vLLM.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> result = lapsd.compare(policies=[FCFS()], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
      policy  preemptions
    0   fcfs            0
    """

    name: ClassVar[str] = "fcfs"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (not job.started, job.index)
