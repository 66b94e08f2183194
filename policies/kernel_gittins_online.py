"""`kernel-gittins` that keeps learning: completed requests join its history."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import Event, Job, NewJob, PolicyContext
from lapsd.policies.kernel_gittins import KernelGittins
from lapsd.policies.request_history import RequestHistory

GROWTH = 8  # the history is rebuilt when more than 1 / GROWTH of its length has been completed


class GrowingHistory:
    """A history, and the requests that were completed since it was last rebuilt."""

    def __init__(self, history: RequestHistory) -> None:
        self.history = history
        self._completed: list[tuple[int, int, int, int]] = []

    def add(self, job: Job) -> bool:
        """Add a completed request; return whether the history was rebuilt."""
        half = job.rounds // 2
        drafted = job.drafted * half / job.rounds  # as if every round had drafted equally many
        early = min(job.tokens - 1, half + round(job.acceptance(half) * drafted))
        self._completed.append((job.predicted_tokens, job.tokens, job.rounds, max(half, early)))
        if len(self._completed) * GROWTH <= len(self.history):
            return False
        self.history = self.history.with_more(self._completed)
        self._completed.clear()
        return True


@dataclass(frozen=True)
class KernelGittinsOnline(KernelGittins):
    """`kernel-gittins` that learns from completed requests, and may start with a short history or
    with none.

    Parameters
    ----------
    known : int or None
        Largest number of past requests that it starts with; None: all.

    Notes
    -----
    Use it where few past requests are known, or requests change over time.

    References
    ----------
    Ours (docs/results/kernel-gittins.md).

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import KernelGittinsOnline
    >>> result = lapsd.compare(
    ...     policies=[KernelGittinsOnline(known=50)],
    ...     requests=20,
    ...     seeds=2,
    ...     load=0.9,
    ...     engine="simpy",
    ... )
    >>> result.table[["policy", "preemptions"]]
                               policy  preemptions
    0  kernel-gittins-online:known=50           22
    """

    name: ClassVar[str] = "kernel-gittins-online"

    known: int | None = None
    growing: GrowingHistory = field(
        default_factory=lambda: GrowingHistory(RequestHistory()),
        repr=False,
        compare=False,
        metadata={"bound": True},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.known is not None and self.known < 0:
            raise ValueError(f"{self.name}: known={self.known} must be at least 0")

    def bind(self, context: PolicyContext) -> Self:
        history = context.history if self.known is None else context.history.sample(self.known)
        return replace(super().bind(context), growing=GrowingHistory(history))

    def on_arrival(self, job: NewJob) -> None:
        """Keep nothing: the past requests that are similar change during the run."""

    def on_round(self, job: Job, now_ns: int) -> None:
        """Keep nothing."""

    def index_ns(self, job: Job) -> float:
        history = self.growing.history
        remaining, weight = history.remaining_rounds(job.predicted_tokens, job.tokens, job.rounds)
        if len(remaining) > 0:
            return self.weighted_ns(remaining, weight)
        left = job.predicted_tokens - job.tokens
        return self.unlike_ns(left, job.rounds, history.tokens_per_round)

    def on_event(self, event: Event) -> bool:
        return event.kind == "completion" and self.growing.add(event.job)
