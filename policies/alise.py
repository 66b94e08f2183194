"""ALISE: shortest estimated remaining time first, in priority queues, with ageing.

Zhao, Wang: "ALISE: Accelerating Large Language Model Serving with Speculative Scheduling" (arXiv
2410.23537), whose text was not at hand: priority queues, preemption, shorter remaining estimated
time first and a mechanism for delayed requests are known of it; the rest is a reading, and every
choice is a parameter. "Speculative" there is the predicted length.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import NEVER, TO_THE_END, Job, PolicyContext, Rank, Until
from lapsd.policies.las import LAS
from lapsd.policies.time_model import FORMS, TimeModel


@dataclass(frozen=True)
class Alise(LAS):
    """K queues by estimated remaining time, shortest first in each; who waits rises a queue for
    each `age_s`.

    A request that has no queue left to rise to goes before all queues, in order of arrival, so that
    nobody starves. Queue j holds requests with a remaining time up to Sup_j = M^(j−1) · Sup_1; the
    last one is unbounded.

    Parameters
    ----------
    K, M, sup_1_s : as of `las`.
    age_s : seconds of waiting, in all, that raise a request by one queue; None: it never rises. A
        few times what requests take: much below, all are soon before all queues, which is first
        come, first served.
    overrun : factor, at least 1, by which a prediction grows whenever the output reaches it; 1: not
        at all, and nothing is left of the request then, which goes first.
    model : the time model as it was `published`, or `exact`, with a growing context.
    """

    name: ClassVar[str] = "alise"

    age_s: float | None = 30.0
    overrun: float = 2.0
    model: str = "published"
    time: TimeModel = field(default=TimeModel(0, 0, 1), repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.overrun <= 1000:
            raise ValueError(f"{self.name}: overrun={self.overrun} must be between 1 and 1000")
        if self.model not in FORMS:
            raise ValueError(f"{self.name}: model={self.model} must be {' or '.join(FORMS)}")

    def bind(self, context: PolicyContext) -> Self:
        return replace(
            super().bind(context), time=context.time or TimeModel(0, 0, context.mean_round_ns)
        )

    def remaining_ns(self, job: Job) -> int:
        """Its estimated remaining time: what is left of T_gen."""
        length = job.predicted_tokens if job.state is None else job.state
        prompt = job.prompt_tokens
        left = self.time.decode_ns(prompt, length - job.tokens, job.tokens, self.model)
        return left if job.started else left + self.time.prefill_ns(prompt, self.model)

    def rank(self, job: Job, now_ns: int) -> Rank:
        left = self.remaining_ns(job)
        level = self._level(job, left, now_ns)
        return (level, left) if level else (0, job.arrival_ns)

    def _level(self, job: Job, remaining_ns: int, now_ns: int) -> int:
        """Its queue, or a higher one for the time that it was not served; 0: before all queues."""
        queue = self.queue_of(remaining_ns)
        if not self.age_ns:
            return queue
        return max(0, queue - (now_ns - job.arrival_ns - job.service_ns) // self.age_ns)

    def on_round(self, job: Job, now_ns: int) -> None:
        """An output that reached its prediction has a longer one now."""
        length: int = job.predicted_tokens if job.state is None else job.state
        if self.overrun > 1 and job.tokens >= length:
            job.state = max(job.tokens + 1, math.ceil(length * self.overrun))

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        if self.overrun == 1:
            return TO_THE_END
        return Until(tokens=job.predicted_tokens if job.state is None else job.state)

    def wake(self, job: Job, now_ns: int) -> int:
        if not self.age_ns or self._level(job, self.remaining_ns(job), now_ns) == 0:
            return NEVER
        served_ns = job.arrival_ns + job.service_ns
        return served_ns + ((now_ns - served_ns) // self.age_ns + 1) * self.age_ns
