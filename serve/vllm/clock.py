"""Whose time a scheduler goes by. A step lasts from one boundary to the next."""

import time
from typing import Protocol


class Clock(Protocol):
    """Nanoseconds that never run backwards."""

    def begin(self) -> int:
        """When the step that is decided now begins."""
        ...

    def end(self) -> int:
        """When the step that was just served ends."""
        ...

    def arrived(self, arrival_s: float) -> int:
        """An arrival, in seconds as vLLM has it, on this clock."""
        ...


class WallClock:
    """The machine's own; vLLM says arrivals in seconds since 1970."""

    def begin(self) -> int:
        return time.monotonic_ns()

    def end(self) -> int:
        return time.monotonic_ns()

    def arrived(self, arrival_s: float) -> int:
        return time.monotonic_ns() - max(0, time.time_ns() - round(arrival_s * 1e9))
