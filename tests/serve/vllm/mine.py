"""Policies of a user of vLLM: one that works, one that records events, and some that fail."""

import signal
from dataclasses import dataclass, field
from typing import Any

from lapsd.policies import FCFS, Event, Job, Policy, Rank

SEEN: list[tuple[str, int]] = []  # (kind of event, index of the request) of the last `Watching`
JOBS: dict[int, Job] = {}


@dataclass(frozen=True)
class LastComeFirstServed(Policy):
    """The latest arrival first; `weight` scales the rank."""

    weight: int = 1

    def rank(self, job: Job, now_ns: int) -> Rank:
        return (-job.index * self.weight,)


@dataclass(frozen=True)
class Watching(FCFS):
    """First come, first served; records all events and jobs."""

    def bind(self, context: Any) -> "Watching":
        SEEN.clear()
        JOBS.clear()
        return self

    def on_event(self, event: Event) -> bool:
        SEEN.append((event.kind, event.job.index))
        JOBS[event.job.index] = event.job
        return False


@dataclass(frozen=True)
class Failing(Policy):
    """The latest arrival first; fails in the way `how` after a request had `after` rounds."""

    how: str = "rank"
    after: int = 3
    due: list[bool] = field(default_factory=list, metadata={"bound": True})

    def rank(self, job: Job, now_ns: int) -> Rank:
        if self.due and self.how == "rank":
            raise ZeroDivisionError("division by zero")
        if self.due and self.how == "nan":
            return (float("nan"),)
        if self.due and self.how == "kinds":
            return ("first",) if job.index else (0,)
        return (-job.index,)

    def on_round(self, job: Job, now_ns: int) -> None:
        if job.rounds >= self.after:
            self.due.append(True)
            if self.how == "on_round":
                raise KeyError("state")

    def on_event(self, event: Event) -> bool:
        if self.due and self.how == "on_event":
            raise RuntimeError("no event")
        return False


@dataclass(frozen=True)
class CtrlC(Policy):
    """First come, first served; simulates Ctrl-C when the third request has `tokens` tokens."""

    tokens: int = 3

    def rank(self, job: Job, now_ns: int) -> Rank:
        if job.index == 2 and job.tokens >= self.tokens:
            signal.raise_signal(signal.SIGINT)
        return (job.arrival_ns,)
