"""LAPS-SD: least attained service while acceptance is noisy, shortest job first once it is stable.

Li, Chen, Li: "Semi-Clairvoyant Scheduling of Speculative Decoding Requests to Minimize LLM
Inference Latency" (arXiv 2505.17074). The paper leaves choices open. `docs/reference/model.md`
lists our interpretation; the parameters from `follow` on select other interpretations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from lapsd.policies.base import Job, Lengths, PolicyContext, Rank
from lapsd.policies.las import LAS
from lapsd.policies.switch_penalty import switch_penalty_ns


@dataclass(slots=True)
class Perception:
    """State of a request in LAPS-SD.

    Attributes
    ----------
    perceptible : bool
        Whether it is perceptible; the other fields but `has_run` are its estimate from the round r
        on at which it became so. The time per token is ns_per_token + rest_ns / tokens, in whole
        numbers so that T̃ is rounded only once, and equal T̃ compare as equal.
    has_run : bool
        Whether it is not perceptible, and has run in its queue; only with `preempt=false`.
    output_tokens : int
        L̂, the predicted output length.
    tokens : int
        Accepted tokens + r, the output tokens of the first r rounds.
    ns_per_token, rest_ns : int
        c̄ · r, the time of r mean rounds, is tokens · ns_per_token + rest_ns, 0 <= rest_ns < tokens.
    """

    perceptible: bool = False
    has_run: bool = False
    output_tokens: int = 0
    tokens: int = 1
    ns_per_token: int = 0
    rest_ns: int = 0


def remaining_ns(state: Perception, emitted: int) -> int:
    """Return T̃ of a perceptible request after so many emitted tokens, rounded down; 0 once the
    output has reached its prediction.
    """
    if emitted >= state.output_tokens:
        return 0
    left = state.output_tokens - emitted
    return state.ns_per_token * left + state.rest_ns * left // state.tokens


def standard_deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of some values, as of a whole population."""
    total = 0.0
    for value in values:
        total += value
    mean, squares = total / len(values), 0.0
    for value in values:
        squares += (value - mean) * (value - mean)
    return math.sqrt(squares / len(values))


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

    Notes
    -----
    Use it where output lengths are hard to predict, requests differ much in acceptance, and KV
    transfers are inexpensive (docs/results/laps-sd.md).

    References
    ----------
    Li, Chen, Li, arXiv 2505.17074; we had no access to its text. docs/reference/model.md lists our
    interpretation.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import LapsSD
    >>> result = lapsd.compare(
    ...     policies=[LapsSD(K=4, delta=0.1)], requests=20, seeds=2, load=0.9
    ... )
    >>> result.table[["policy", "preemptions"]]
                  policy  preemptions
    0  laps-sd:delta=0.1           43
    """

    name: ClassVar[str] = "laps-sd"
    ages = LAS.ages
    State: ClassVar[type[Perception]] = Perception

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
        own: dict[str, Any] = {
            "mean_round_ns": context.mean_round_ns,
            "switch_penalty_ns": switch_penalty_ns(context, self.switch_penalty),
        }
        return replace(self, **self._queues(context), **own)

    def largest_ns(self, lengths: Lengths) -> int:
        emitted = lengths.output_tokens + 1
        predicted = max(lengths.predicted_tokens, math.ceil(emitted * self.overrun)) + 1
        return (self.mean_round_ns + emitted) * predicted

    def rank(self, job: Job, now_ns: int) -> Rank:
        level = self.level(job, now_ns) if self.age_ns else job.queue
        first, time_ns = self.place_in_queue(job)
        if self.switch_penalty_ns and job.running:
            level = min(level, self.queue_of(self.placed_ns(job, time_ns)))
        return (level, first, time_ns)

    def place_in_queue(self, job: Job) -> tuple[int, int]:
        """Return the order of the request within its queue: its class, and its T̃ if it is
        perceptible. The T̃ of a running request is reduced by `switch_penalty_ns`.
        """
        state = job.state
        if not state.perceptible:
            return (-1 if state.has_run else int(self.perceptible_first), 0)
        time_ns = remaining_ns(state, job.tokens if self.order == "remaining" else 0)
        if job.running:
            time_ns -= self.switch_penalty_ns
        return (int(not self.perceptible_first), time_ns)

    def placed_ns(self, job: Job, time_ns: int) -> int:
        """Return the time by which a queue is chosen: T̃ of a perceptible request, as
        `place_in_queue` returns it, or the attained service. The service of a running request is
        reduced by `switch_penalty_ns`.
        """
        if job.state.perceptible:
            return time_ns
        return job.service_ns - (self.switch_penalty_ns if job.running else 0)

    def on_round(self, job: Job, now_ns: int) -> None:
        state = job.state
        if state.perceptible:
            self._follow(job)
        elif self.is_stable(job):
            state.perceptible, state.has_run = True, False
            state.output_tokens = job.predicted_tokens
            state.tokens = job.accepted + job.rounds
            ns = self.mean_round_ns * job.rounds
            state.ns_per_token, state.rest_ns = ns // state.tokens, ns % state.tokens
            job.queue = self.queue_of(self.predicted_remaining_ns(job))
        else:
            queue = self.queue_of(job.service_ns)
            if not self.preempt:
                state.has_run = queue == job.queue
            job.queue = queue

    def _follow(self, job: Job) -> None:
        """Update the estimate and the queue of a perceptible request; by default, do nothing."""
        state = job.state
        if self.overrun > 1 and job.tokens >= state.output_tokens:
            state.output_tokens = max(job.tokens + 1, math.ceil(state.output_tokens * self.overrun))
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
            return standard_deviation(job.acceptances(gamma)) < self.delta
        if self.stability == "posterior":
            a, b = 1 + job.accepted, 1 + job.drafted - job.accepted
            return math.sqrt(a * b / (a + b + 1)) / (a + b) < self.delta
        if rounds < 2 * gamma - 1:
            return False
        least, most = math.inf, -math.inf
        for r in range(rounds - gamma + 1, rounds + 1):
            mean = (r * job.acceptance(r) - (r - gamma) * job.acceptance(r - gamma)) / gamma
            least, most = min(least, mean), max(most, mean)
        return most - least < self.delta

    def predicted_remaining_ns(self, job: Job) -> int:
        """Return T̃ of a perceptible request: c̄ · r · max(0, L̂ − emitted) // (accepted + r)."""
        return remaining_ns(job.state, job.tokens)
