"""Shortest remaining processing time, knowing the truth."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from policies.base import Job, Outlook, Policy, Rank


@dataclass(frozen=True)
class SRPT(Policy):
    """Least true remaining work (prefill and rounds) first, preemptive.

    Clairvoyant. Optimal only for rounds of equal cost, no prefill and free switches.
    """

    name: ClassVar[str] = "srpt"
    clairvoyant: ClassVar[bool] = True

    outlook: Outlook | None = field(default=None, repr=False, metadata={"bound": True})

    def bind(self, outlook: Outlook) -> Self:
        return replace(self, outlook=outlook)

    def rank(self, job: Job, now_ns: int) -> Rank:
        assert self.outlook is not None, "bind the policy first"
        prefill = 0 if job.started else self.outlook.true_prefill_ns[job.index]
        return (prefill + self.outlook.true_left_ns[job.index][job.rounds],)
