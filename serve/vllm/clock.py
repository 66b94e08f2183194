"""Clocks of the scheduler in vLLM. A step lasts from one boundary to the next."""

import time
from typing import Protocol


class Clock(Protocol):
    """A clock in nanoseconds that never goes backwards."""

    def begin(self) -> int:
        """Return the start of the step that is being scheduled."""
        ...

    def end(self) -> int:
        """Return the end of the step that has just run."""
        ...

    def arrived(self, arrival_s: float) -> int:
        """Return an arrival time, which vLLM gives in seconds, on this clock."""
        ...


class WallClock:
    """The clock of the machine; vLLM gives arrivals in seconds since 1970."""

    def begin(self) -> int:
        return time.monotonic_ns()

    def end(self) -> int:
        return time.monotonic_ns()

    def arrived(self, arrival_s: float) -> int:
        return time.monotonic_ns() - max(0, time.time_ns() - round(arrival_s * 1e9))
