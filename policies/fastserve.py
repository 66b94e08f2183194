"""FastServe: a multi-level feedback queue in which the prefill time sets the first level.

Wu et al.: "Fast Distributed Inference Serving for Large Language Models" (arXiv 2305.05920), with
the constants of its public artifact (LLMServe/FastServe at 187a274). It predicts the time of a
prefill, and no output lengths.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Self

from lapsd.policies.base import NEVER, ONE_ROUND, Job, Policy, PolicyContext, Rank, Until
from lapsd.policies.time_model import TimeModel


class LevelState(NamedTuple):
    """The level of a request that has run, and when it entered the level; times in ns.

    Attributes
    ----------
    level : int
        Level, from 0, the highest.
    entered_ns : int
        When the request entered the level; the latest entry is in front.
    entry_service_ns : int
        Attained service of the request when it entered the level.
    service_ns : int
        Attained service of the request after its latest round.
    last_round_ns : int
        End of its latest round.
    """

    level: int
    entered_ns: int
    entry_service_ns: int
    service_ns: int
    last_round_ns: int


@dataclass(frozen=True)
class FastServe(Policy):
    """Skip-join multi-level feedback queue: a request that exceeds the quantum of its level falls
    one level.

    The quantum doubles from level to level. A new request joins at the end of the first level whose
    quantum is at least its prefill time. A request that falls or starves goes to the front of its
    new level.

    Parameters
    ----------
    quantum_ms : float
        Quantum of the first level, in milliseconds.
    levels : int
        Number of levels; the last one has no quantum.
    starve_s : float or None
        A request without a round for so many seconds goes to the front of the first level; None:
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

    def first_level(self, job: Job) -> int:
        """Return the level that a new request joins."""
        prefill_ns = self.time.prefill_ns(job.prompt_tokens, "exact")
        return next(level for level, quantum in enumerate(self.quanta_ns) if prefill_ns <= quantum)

    def rank(self, job: Job, now_ns: int) -> Rank:
        starves_ns = self._starves_ns(job)
        if starves_ns <= now_ns:
            return (0, 0, -starves_ns)
        state: LevelState | None = job.state
        return (
            (self.first_level(job), 1, job.arrival_ns)
            if state is None
            else (state.level, 0, -state.entered_ns)
        )

    def _starves_ns(self, job: Job) -> int:
        """Return the time from which the request starves, if it keeps waiting."""
        if self.starve_ns == NEVER:
            return NEVER
        return (job.arrival_ns if job.state is None else job.state.last_round_ns) + self.starve_ns

    def on_round(self, job: Job, now_ns: int) -> None:
        service_ns, state = job.service_ns, job.state
        if state is None:
            state = LevelState(self.first_level(job), job.arrival_ns, 0, 0, job.arrival_ns)
        if now_ns - (service_ns - state.service_ns) - state.last_round_ns >= self.starve_ns:
            state = LevelState(0, now_ns, state.service_ns, state.service_ns, state.last_round_ns)
        level, entered_ns, entry_service_ns, _, _ = state
        if service_ns - entry_service_ns > self.quanta_ns[level]:
            level, entered_ns, entry_service_ns = level + 1, now_ns, service_ns
        job.state = LevelState(level, entered_ns, entry_service_ns, service_ns, now_ns)
        job.queue = level + 1

    def remaining_ns(self, job: Job) -> int:
        """Return the rest of the quantum of the request: FastServe knows nothing else of it."""
        state: LevelState | None = job.state
        spent_ns = 0 if state is None else job.service_ns - state.entry_service_ns
        level = self.first_level(job) if state is None else state.level
        return max(0, self.quanta_ns[level] - spent_ns)

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        """Ask for the rank in every round: `on_round` records the end of each."""
        return ONE_ROUND

    def wake(self, job: Job, now_ns: int) -> int:
        starves_ns = self._starves_ns(job)
        return starves_ns if starves_ns > now_ns else NEVER
