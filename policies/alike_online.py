"""`alike` that goes on learning: requests that are done join the past."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from lapsd.policies.alike import Alike
from lapsd.policies.base import ONE_ROUND, Event, Job, Outlook, Rank, Until
from lapsd.policies.past import Past

GROWTH = 8  # the past is taken in anew when it has grown by this part of it


class Growing:
    """A past, and who is done since it was last taken in."""

    def __init__(self, past: Past) -> None:
        self.past = past
        self._done: list[tuple[int, int, int, int]] = []

    def add(self, job: Job) -> bool:
        """A request is done; whether that changed the past."""
        half = job.rounds // 2
        drafted = job.drafted * half / job.rounds  # as if all rounds had drafted as many
        early = min(job.tokens - 1, half + round(job.acceptance(half) * drafted))
        self._done.append((job.predicted_tokens, job.tokens, job.rounds, max(half, early)))
        if len(self._done) * GROWTH <= len(self.past):
            return False
        self.past = self.past.with_more(self._done)
        self._done.clear()
        return True


@dataclass(frozen=True)
class AlikeOnline(Alike):
    """`alike` that learns from who is done, and may begin with less of a past, or with none.

    Parameters
    ----------
    known : past requests that it begins with, at most; None: all.
    """

    name: ClassVar[str] = "alike-online"

    known: int | None = None
    growing: Growing = field(
        default_factory=lambda: Growing(Past()), repr=False, compare=False, metadata={"bound": True}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.known is not None and self.known < 0:
            raise ValueError(f"{self.name}: known={self.known} must be at least 0")

    def bind(self, outlook: Outlook) -> Self:
        past = outlook.past if self.known is None else outlook.past.some(self.known)
        return replace(super().bind(outlook), growing=Growing(past))

    @property
    def known_past(self) -> Past:
        return self.growing.past

    def run_until(self, job: Job, best_waiting: Rank | None, now_ns: int) -> Until:
        return ONE_ROUND  # what a rank will be depends on who is done by then

    def observe(self, event: Event) -> bool:
        return event.kind == "completion" and self.growing.add(event.job)
