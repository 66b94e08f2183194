"""Least attained service first, decided in every round."""

from dataclasses import dataclass
from typing import ClassVar

from lapsd.policies.base import Job, Policy, Rank


@dataclass(frozen=True)
class LASRound(Policy):
    """Least attained service first, without queues: the limit of `las` for many narrow queues.

    Notes
    -----
    Use it where preemption is free; with KV transfers it switches too often.

    References
    ----------
    Textbook (foreground-background).

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import LASRound
    >>> result = lapsd.compare(policies=[LASRound()], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
          policy  preemptions
    0  las-round          512
    """

    name: ClassVar[str] = "las-round"

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (job.service_ns,)
