"""LAPS-SD: least attained service while acceptance is noisy, shortest job first once it is stable.

Li, Chen, Li: "Semi-Clairvoyant Scheduling of Speculative Decoding Requests to Minimize LLM
Inference Latency" (arXiv 2505.17074). The paper leaves choices open. `docs/simulator.md` lists our
interpretation; the parameters from `follow` on select other interpretations.
"""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import pstdev
from typing import Any, ClassVar, NamedTuple, Self

from lapsd.policies.base import ONE_ROUND, TO_THE_END, Job, PolicyContext, Rank, Until
from lapsd.policies.las import LAS
from lapsd.policies.switch_penalty import switch_penalty_ns

# a lookup takes half the time of a new `Until`, which saves 2 % of a run
until = lru_cache(maxsize=1 << 14)(Until)


class Perceived(NamedTuple):
    """Estimate of a request from the round r on at which it became perceptible.

    The time per token is ns / tokens. The two are stored separately so that T̃ is rounded only
    once, and equal T̃ compare as equal.

    Attributes
    ----------
    output_tokens : int
        L̂, the predicted output length.
    ns : int
        c̄ · r, the time of r mean rounds.
    tokens : int
        Accepted tokens + r, the output tokens of the first r rounds.
    """

    output_tokens: int
    ns: int
    tokens: int

    def remaining_ns(self, emitted: int) -> int:
        """Return T̃ after so many emitted tokens, rounded down; 0 once the output has reached its
        prediction.
        """
        output, ns, tokens = self  # faster than access by name
        return ns * (output - emitted) // tokens if emitted < output else 0


@dataclass(frozen=True)
class LapsSD(LAS):
    """LAS until a request is perceptible; then placed in a queue once by its remaining T̃, and
    served there by smallest remaining T̃.

    A request is perceptible from the first round at which the running acceptance rate over its
    last `gamma` rounds has a range below `delta`. It then goes before the requests of its queue
    that are not perceptible.

    Parameters
    ----------
    gamma : int
        Number of rounds of the stability window, at least 1.
    delta : float
        Tolerance of the stability window, at least 0; at 0 no request ever becomes perceptible.
    follow : bool
        Whether the queue of a perceptible request follows its remaining T̃, instead of being set
        once.
    order : str
        Whether the perceptible requests of a queue are ordered by `remaining` or `total` T̃.
    perceptible_first : bool
        Whether the perceptible requests of a queue go before the others, or after them.
    preempt : bool
        Whether a perceptible request preempts one of its queue that is not perceptible.
    overrun : float
        Factor, at least 1, by which a prediction grows whenever the output reaches it; 1: it does
        not grow.
    stability : str
        The value that must be below `delta`. `range`, `sd`: range or standard deviation of the
        running acceptance rate over the window. `window`: range of the mean acceptance rate of
        `gamma` consecutive rounds, which does not shrink merely because rounds pass. `posterior`:
        standard deviation of Beta(1 + accepted, 1 + drafted − accepted), from round `gamma` on.
    count : int
        Number of rounds after which a request is perceptible, whatever its acceptance (a control);
        0: by `stability`.
    switch_penalty : float
        A running request is placed and ranked as if its service, or T̃, were lower by so many times
        `switch_penalty_ns`, the total delay that its preemption would cause through swapping KV
        caches.
    """

    name: ClassVar[str] = "laps-sd"

    gamma: int = 5
    delta: float = 0.05
    follow: bool = False
    order: str = "remaining"
    perceptible_first: bool = True
    preempt: bool = True
    overrun: float = 1.0
    stability: str = "range"
    count: int = 0
    switch_penalty: float = 0.0
    switch_penalty_ns: int = field(default=0, repr=False, metadata={"bound": True})
    mean_round_ns: int = field(default=0, repr=False, metadata={"bound": True})
    stable_key: str = field(default="", repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.gamma <= 100_000:
            raise ValueError(f"{self.name}: gamma={self.gamma} must be between 1 and 100000")
        if not 0 <= self.delta <= 1:
            raise ValueError(f"{self.name}: delta={self.delta} must be between 0 and 1")
        if not 1 <= self.overrun <= 1000:
            raise ValueError(f"{self.name}: overrun={self.overrun} must be between 1 and 1000")
        if not 0 <= self.count <= 100_000:
            raise ValueError(f"{self.name}: count={self.count} must be between 0 and 100000")
        if not 0 <= self.switch_penalty <= 1000:
            raise ValueError(
                f"{self.name}: switch_penalty={self.switch_penalty} must be between 0 and 1000"
            )
        for parameter, known in (
            ("order", ("remaining", "total")),
            ("stability", ("range", "sd", "window", "posterior")),
        ):
            if (value := getattr(self, parameter)) not in known:
                raise ValueError(f"{self.name}: {parameter}={value} must be {' or '.join(known)}")

    def bind(self, context: PolicyContext) -> Self:
        key = (
            f"{type(self).__qualname__} stable: {self.gamma}, {self.delta}, {self.stability},"
            f" {self.count}"
        )
        own: dict[str, Any] = {
            "mean_round_ns": context.mean_round_ns,
            "stable_key": key,
            "switch_penalty_ns": round(self.switch_penalty * switch_penalty_ns(context)),
        }
        return replace(self, **self._queues(context), **own)

    def rank(self, job: Job, now_ns: int) -> Rank:
        perceived = job.state
        level = self.level(job, now_ns) if self.age_ns else job.queue
        if perceived is None:
            rank: Rank = (level, self.perceptible_first, 0)
        elif isinstance(perceived, Perceived):
            emitted = job.tokens if self.order == "remaining" else 0
            rank = (level, not self.perceptible_first, perceived.remaining_ns(emitted))
        else:  # not perceptible, and has run in its queue; only with `preempt=false`
            rank = (level, -1 if perceived == job.queue else self.perceptible_first, 0)
        return self._with_penalty(job, rank) if self.switch_penalty_ns and job.running else rank

    def _with_penalty(self, job: Job, rank: Rank) -> Rank:
        """Return the rank of a running request, its service or T̃ reduced by `switch_penalty_ns`."""
        level, first, time_ns = rank
        if not isinstance(job.state, Perceived):
            return (
                min(level, self.queue_of(job.service_ns - self.switch_penalty_ns)),
                first,
                time_ns,
            )
        return (
            min(level, self.queue_of(time_ns - self.switch_penalty_ns)),
            first,
            time_ns - self.switch_penalty_ns,
        )

    def on_round(self, job: Job, now_ns: int) -> None:
        if isinstance(job.state, Perceived):
            self._follow(job, job.state)
        elif self.is_stable(job):
            rounds = job.rounds
            job.state = Perceived(
                job.predicted_tokens, self.mean_round_ns * rounds, job.accepted + rounds
            )
            job.queue = self.queue_of(self.predicted_remaining_ns(job))
        else:
            queue = self.queue_of(job.service_ns)
            if not self.preempt:
                job.state = queue if queue == job.queue else None
            job.queue = queue

    def _follow(self, job: Job, perceived: Perceived) -> None:
        """Update the estimate and the queue of a perceptible request; by default, do nothing."""
        if self.overrun > 1 and job.tokens >= perceived.output_tokens:
            longer = max(job.tokens + 1, math.ceil(perceived.output_tokens * self.overrun))
            job.state = perceived._replace(output_tokens=longer)
        if self.follow:
            job.queue = self.queue_of(self.predicted_remaining_ns(job))

    def is_stable(self, job: Job) -> bool:
        """Return whether the value named by `stability` is below `delta`, or `count` is reached."""
        rounds, gamma = job.rounds, self.gamma
        if self.count:
            return rounds >= self.count
        if rounds < gamma:
            return False
        if self.stability == "range":
            return job.acceptance_range(gamma) < self.delta
        if self.stability == "sd":
            return pstdev(job.acceptances(gamma)) < self.delta
        if self.stability == "posterior":
            a, b = 1 + job.accepted, 1 + job.drafted - job.accepted
            return math.sqrt(a * b / (a + b + 1)) / (a + b) < self.delta
        if rounds < 2 * gamma - 1:
            return False
        ends = range(rounds - gamma + 1, rounds + 1)
        means = [
            (r * job.acceptance(r) - (r - gamma) * job.acceptance(r - gamma)) / gamma for r in ends
        ]
        return max(means) - min(means) < self.delta

    def predicted_remaining_ns(self, job: Job) -> int:
        """Return T̃ of a perceptible request: c̄ · r · max(0, L̂ − emitted) // (accepted + r)."""
        perceived: Perceived = job.state
        return perceived.remaining_ns(job.tokens)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        perceived = job.state
        if self.switch_penalty_ns:
            return ONE_ROUND
        if isinstance(perceived, Perceived):
            if self.follow:
                return ONE_ROUND
            return Until(tokens=perceived.output_tokens) if self.overrun > 1 else TO_THE_END
        if not self.preempt and perceived != job.queue:
            return ONE_ROUND
        return until(
            job.predict_round(self.stable_key, self.is_stable), self.leaves_ns[job.queue - 1]
        )
