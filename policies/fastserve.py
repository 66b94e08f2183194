"""FastServe: a multi-level feedback queue in which the prefill time sets the first level.

Wu et al.: "Fast Distributed Inference Serving for Large Language Models" (arXiv 2305.05920), with
the constants of its public artifact (LLMServe/FastServe at 187a274). It predicts the time of a
prefill, and no output lengths.
"""

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import NEVER, Job, Lengths, NewJob, Policy, PolicyContext, Rank
from lapsd.policies.time_model import TimeModel


@dataclass(slots=True)
class LevelState:
    """The level of a request, and when it entered the level; times in ns.

    Attributes
    ----------
    level : int
        Level, from 0, the highest.
    has_run : bool
        Whether it has run a round.
    in_front : bool
        Whether it entered the level in front, because it fell or starved; else it joined at the
        end.
    entered_ns : int
        When it entered the level in front; the latest entry goes first.
    entry_service_ns : int
        Attained service of the request when it entered the level.
    service_ns : int
        Attained service of the request after its latest round.
    last_round_ns : int
        End of its latest round.
    """

    level: int = 0
    has_run: bool = False
    in_front: bool = False
    entered_ns: int = 0
    entry_service_ns: int = 0
    service_ns: int = 0
    last_round_ns: int = 0


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

    Notes
    -----
    Use it where output lengths are not predicted and prompts differ much in length.

    References
    ----------
    Wu et al., arXiv 2305.05920; constants of its public artifact.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FastServe
    >>> result = lapsd.compare(
    ...     policies=[FastServe(quantum_ms=20.0)], requests=20, seeds=2, load=0.9
    ... )
    >>> result.table[["policy", "preemptions"]]
                        policy  preemptions
    0  fastserve:quantum_ms=20           48
    """

    name: ClassVar[str] = "fastserve"
    State: ClassVar[type[LevelState]] = LevelState

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

    @property
    def ages(self) -> bool:  # type: ignore[override]
        """Whether waiting requests can starve."""
        return self.starve_ns != NEVER

    def on_arrival(self, job: NewJob) -> None:
        """Join the first level whose quantum is at least the prefill time."""
        prefill_ns = self.time.prefill_ns(job.prompt_tokens, "exact")
        job.state.level = bisect_left(self.quanta_ns, prefill_ns)

    def largest_ns(self, lengths: Lengths) -> int:
        return self.time.largest_ns(lengths.prompt_tokens, 0)

    def rank(self, job: Job, now_ns: int) -> Rank:
        starves_ns = self._starves_ns(job)
        if starves_ns <= now_ns:
            return (0, 0, -starves_ns)
        state = job.state
        if state.in_front:
            return (state.level, 0, -state.entered_ns)
        return (state.level, 1, job.arrival_ns)

    def _starves_ns(self, job: Job) -> int:
        """Return the time from which the request starves, if it keeps waiting."""
        if self.starve_ns == NEVER:
            return NEVER
        last_ns = job.state.last_round_ns if job.state.has_run else job.arrival_ns
        return last_ns + self.starve_ns

    def on_round(self, job: Job, now_ns: int) -> None:
        state = job.state
        begun_ns = now_ns - (job.service_ns - state.service_ns)
        if self._starves_ns(job) <= begun_ns:
            self._enter(job, 0, now_ns, state.service_ns)
        if job.service_ns - state.entry_service_ns > self.quanta_ns[state.level]:
            self._enter(job, state.level + 1, now_ns, job.service_ns)
        state.has_run, state.service_ns, state.last_round_ns = True, job.service_ns, now_ns
        job.queue = state.level + 1

    def _enter(self, job: Job, level: int, now_ns: int, service_ns: int) -> None:
        """Put the request in front of a level, where service beyond `service_ns` counts."""
        state = job.state
        state.level, state.in_front = level, True
        state.entered_ns, state.entry_service_ns = now_ns, service_ns

    def remaining_ns(self, job: Job) -> int:
        """Return the rest of the quantum of the request: FastServe knows nothing else of it."""
        state: LevelState = job.state
        return max(0, self.quanta_ns[state.level] - (job.service_ns - state.entry_service_ns))

    def wake(self, job: Job, now_ns: int) -> int:
        starves_ns = self._starves_ns(job)
        return starves_ns if starves_ns > now_ns else NEVER
