"""FastServe: a multi-level feedback queue that a request joins where its prompt fits.

Wu et al.: "Fast Distributed Inference Serving for Large Language Models" (arXiv 2305.05920), with
the constants of its public artifact (LLMServe/FastServe at 187a274), where nothing is predicted but
the time of a prefill.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Self

from lapsd.policies.base import NEVER, ONE_ROUND, Job, Policy, PolicyContext, Rank, Until
from lapsd.policies.time_model import TimeModel


class Turn(NamedTuple):
    """What is remembered of a request that has run: its level, and since when; times in ns.

    Attributes
    ----------
    level : int
        From 0, the highest.
    since_ns : int
        When it came there; those who came last are in front.
    before_ns, service_ns, last_ns : int
        Its attained service when it came there, and when it last ran; and the end of that round.
    """

    level: int
    since_ns: int
    before_ns: int
    service_ns: int
    last_ns: int


@dataclass(frozen=True)
class FastServe(Policy):
    """Skip-join multi-level feedback queue; quanta double from level to level, and whoever spent
    one falls a level.

    A newcomer joins the last place of the first level whose quantum is at least its prefill time.
    Who falls, or starves, comes to the front of its new level.

    Parameters
    ----------
    quantum_ms : of the first level.
    levels : how many; the last one has no quantum.
    starve_s : a request that had no round for so long goes to the front of the first level; None:
    never.
    """

    name: ClassVar[str] = "fastserve"

    quantum_ms: float = 10.0
    levels: int = 12
    starve_s: float | None = 3.0
    quanta_ns: tuple[int, ...] = field(default=(), repr=False, metadata={"bound": True})
    starve_ns: int = field(default=NEVER, repr=False, metadata={"bound": True})
    time: TimeModel = field(default=TimeModel(0, 0, 1), repr=False, metadata={"bound": True})

    def __post_init__(self) -> None:
        if not 0 < self.quantum_ms <= 1e9:
            raise ValueError(
                f"{self.name}: quantum_ms={self.quantum_ms} must be above 0, and at most 1e+09"
            )
        if not 1 <= self.levels <= 64:
            raise ValueError(f"{self.name}: levels={self.levels} must be between 1 and 64")
        if self.starve_s is not None and not 0 < self.starve_s <= 1e9:
            raise ValueError(
                f"{self.name}: starve_s={self.starve_s} must be above 0, and at most 1e+09"
            )

    def bind(self, context: PolicyContext) -> Self:
        first = max(1, round(self.quantum_ms * 1e6))
        return replace(
            self,
            quanta_ns=(*(min(first << level, NEVER) for level in range(self.levels - 1)), NEVER),
            starve_ns=NEVER if self.starve_s is None else max(1, round(self.starve_s * 1e9)),
            time=context.time or TimeModel(0, 0, context.mean_round_ns),
        )

    def joins(self, job: Job) -> int:
        """The level where a newcomer begins."""
        prefill_ns = self.time.prefill_ns(job.prompt_tokens, "exact")
        return next(level for level, quantum in enumerate(self.quanta_ns) if prefill_ns <= quantum)

    def rank(self, job: Job, now_ns: int) -> Rank:
        starves_ns = self._starves_ns(job)
        if starves_ns <= now_ns:
            return (0, 0, -starves_ns)
        turn: Turn | None = job.state
        return (
            (self.joins(job), 1, job.arrival_ns)
            if turn is None
            else (turn.level, 0, -turn.since_ns)
        )

    def _starves_ns(self, job: Job) -> int:
        """When the request, if it goes on waiting, has had no round for too long."""
        return (job.arrival_ns if job.state is None else job.state.last_ns) + self.starve_ns

    def on_round(self, job: Job, now_ns: int) -> None:
        service_ns, turn = job.service_ns, job.state
        if turn is None:
            turn = Turn(self.joins(job), job.arrival_ns, 0, 0, job.arrival_ns)
        if now_ns - (service_ns - turn.service_ns) - turn.last_ns >= self.starve_ns:
            turn = Turn(0, now_ns, turn.service_ns, turn.service_ns, turn.last_ns)
        level, since_ns, before_ns, _, _ = turn
        if service_ns - before_ns > self.quanta_ns[level]:
            level, since_ns, before_ns = level + 1, now_ns, service_ns
        job.state = Turn(level, since_ns, before_ns, service_ns, now_ns)
        job.queue = level + 1

    def remaining_ns(self, job: Job) -> int:
        """What is left of its quantum: nothing else is known."""
        turn: Turn | None = job.state
        spent = 0 if turn is None else job.service_ns - turn.before_ns
        return max(0, self.quanta_ns[self.joins(job) if turn is None else turn.level] - spent)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        """When it ran last is remembered after each round."""
        return ONE_ROUND

    def wake(self, job: Job, now_ns: int) -> int:
        starves_ns = self._starves_ns(job)
        return starves_ns if starves_ns > now_ns else NEVER
