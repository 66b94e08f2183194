"""`kernel-gittins` that goes on learning: requests that are done join the past."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.base import ONE_ROUND, Event, Job, PolicyContext, Rank, Until
from lapsd.policies.kernel_gittins import KernelGittins
from lapsd.policies.request_history import RequestHistory

GROWTH = 8  # the past is taken in anew when it has grown by this part of it


class Growing:
    """A past, and who is done since it was last taken in."""

    def __init__(self, history: RequestHistory) -> None:
        self.history = history
        self._done: list[tuple[int, int, int, int]] = []

    def add(self, job: Job) -> bool:
        """A request is done; whether that changed the past."""
        half = job.rounds // 2
        drafted = job.drafted * half / job.rounds  # as if all rounds had drafted as many
        early = min(job.tokens - 1, half + round(job.acceptance(half) * drafted))
        self._done.append((job.predicted_tokens, job.tokens, job.rounds, max(half, early)))
        if len(self._done) * GROWTH <= len(self.history):
            return False
        self.history = self.history.with_more(self._done)
        self._done.clear()
        return True


@dataclass(frozen=True)
class KernelGittinsOnline(KernelGittins):
    """`kernel-gittins` that learns from who is done, and may begin with less of a past, or with none.

    Parameters
    ----------
    known : past requests that it begins with, at most; None: all.
    """

    name: ClassVar[str] = "kernel-gittins-online"

    known: int | None = None
    growing: Growing = field(
        default_factory=lambda: Growing(RequestHistory()),
        repr=False,
        compare=False,
        metadata={"bound": True},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.known is not None and self.known < 0:
            raise ValueError(f"{self.name}: known={self.known} must be at least 0")

    def bind(self, context: PolicyContext) -> Self:
        history = context.history if self.known is None else context.history.some(self.known)
        return replace(super().bind(context), growing=Growing(history))

    @property
    def known_history(self) -> RequestHistory:
        return self.growing.history

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return ONE_ROUND  # what a rank will be depends on who is done by then

    def on_event(self, event: Event) -> bool:
        return event.kind == "completion" and self.growing.add(event.job)
