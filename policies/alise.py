"""ALISE: shortest estimated remaining time first, in priority queues, with ageing.

Zhao, Wang: "ALISE: Accelerating Large Language Model Serving with Speculative Scheduling" (arXiv
2410.23537). We had no access to the text of the paper. It is known to use priority queues,
preemption, shortest estimated remaining time first and a mechanism for delayed requests. The rest
is our interpretation, and each choice is a parameter. "Speculative" in the title means that output
lengths are predicted.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import NEVER, Job, Lengths, NewJob, PolicyContext, Rank
from lapsd.policies.las import LAS
from lapsd.policies.time_model import FORMS, TimeModel


@dataclass(frozen=True)
class Alise(LAS):
    """K queues by estimated remaining time, shortest first in each queue; a waiting request rises
    by one queue for each `age_s`.

    Queue j holds requests with an estimated remaining time up to Sup_j = M^(j−1) · Sup_1; the last
    queue has no upper limit. A waiting request that would rise above the first queue goes before
    all queues, in order of arrival, so that no request starves.

    Parameters
    ----------
    age_s : float or None
        Total seconds of waiting that raise a request by one queue; None: a request never rises.
        Choose a few times the typical time of a request. With a much smaller value all requests are
        soon before all queues, which is first come, first served.
    overrun : float
        Factor, at least 1, by which a prediction grows whenever the output reaches it. At 1 the
        prediction stays; the remaining time of a request that reaches it is 0, so it goes first.
    model : str
        `published`: the time model as published; `exact`: with a growing context.

    Notes
    -----
    Use it for ordinary serving by predicted length, where no request may starve
    (docs/results/alise.md).

    References
    ----------
    Zhao, Wang, arXiv 2410.23537; we had no access to its text.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import Alise
    >>> result = lapsd.compare(policies=[Alise(age_s=5.0)], requests=20, seeds=2, load=0.9)
    >>> result.table[["policy", "preemptions"]]
              policy  preemptions
    0  alise:age_s=5           14
    """

    name: ClassVar[str] = "alise"
    ages = LAS.ages

    @dataclass(slots=True)
    class State:
        """The estimate of a request.

        Attributes
        ----------
        output_tokens : int
            Its predicted output length, made longer whenever the output reaches it.
        prefill_ns : int
            Time of its prefill.
        """

        output_tokens: int = 0
        prefill_ns: int = 0

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

    def on_arrival(self, job: NewJob) -> None:
        job.state.output_tokens = job.predicted_tokens
        job.state.prefill_ns = self.time.prefill_ns(job.prompt_tokens, self.model)

    def largest_ns(self, lengths: Lengths) -> int:
        grown = math.ceil((lengths.output_tokens + 1) * self.overrun) + 1
        left = max(lengths.predicted_tokens, grown)
        return self.time.largest_ns(lengths.prompt_tokens, left)

    def remaining_ns(self, job: Job) -> int:
        """Return the estimated remaining time of the request: the rest of T_gen."""
        left = job.state.output_tokens - job.tokens
        decode_ns = self.time.decode_ns(job.prompt_tokens, left, job.tokens, self.model)
        return decode_ns if job.started else decode_ns + job.state.prefill_ns

    def rank(self, job: Job, now_ns: int) -> Rank:
        remaining_ns = self.remaining_ns(job)
        level = self._level(job, remaining_ns, now_ns)
        return (level, remaining_ns) if level else (0, job.arrival_ns)

    def _level(self, job: Job, remaining_ns: int, now_ns: int) -> int:
        """Return the number of the request's queue after ageing; 0: before all queues."""
        queue = self.queue_of(remaining_ns)
        if not self.age_ns:
            return queue
        return max(0, queue - (now_ns - job.arrival_ns - job.service_ns) // self.age_ns)

    def on_round(self, job: Job, now_ns: int) -> None:
        """Make the prediction longer if the output has reached it."""
        length = job.state.output_tokens
        if self.overrun > 1 and job.tokens >= length:
            job.state.output_tokens = max(job.tokens + 1, math.ceil(length * self.overrun))

    def wake(self, job: Job, now_ns: int) -> int:
        if not self.age_ns or self._level(job, self.remaining_ns(job), now_ns) == 0:
            return NEVER
        served_ns = job.arrival_ns + job.service_ns
        return served_ns + ((now_ns - served_ns) // self.age_ns + 1) * self.age_ns
