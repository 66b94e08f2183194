"""Shortest job first by predicted output length."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Job, Policy, Rank


@dataclass(frozen=True)
class LPSJF(Policy):
    """Shortest *predicted length* first, without preemption: a baseline of the LAPS-SD paper.

    We do not know whether LP-SJF preempts in the paper; here it does not.

    Notes
    -----
    Use it where output lengths are predicted, and preemption is expensive or impossible.

    References
    ----------
    A baseline of the LAPS-SD paper (Li, Chen, Li, arXiv 2505.17074; we had no access to its text).

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import LPSJF
    >>> result = lapsd.compare(policies=[LPSJF()], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
       policy  preemptions
    0  lp-sjf            0
    """

    name: ClassVar[str] = "lp-sjf"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (not job.started, job.predicted_tokens)
