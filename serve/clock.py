"""The clock of a live run: real time in integer nanoseconds since the start of the run.

Idle time can be skipped.
"""

import time

SPIN_NS = 2_000_000  # sleep ends up to about this much late


class Clock:
    """Real time, 0 at construction.

    Parameters
    ----------
    kind : "wall": the clock sleeps through idle time; "busy": it skips idle time, so that only
        durations differ between runs.
    """

    def __init__(self, kind: str) -> None:
        self._skips = kind == "busy"
        self._origin = time.perf_counter_ns()

    def now_ns(self) -> int:
        """Return the current time."""
        return time.perf_counter_ns() - self._origin

    def stop(self) -> None:
        """Stop the clock until `go` is called."""
        self._stopped = time.perf_counter_ns()

    def go(self) -> None:
        """Continue from the time at which the clock stopped."""
        self._origin += time.perf_counter_ns() - self._stopped

    def idle_until(self, ns: int) -> None:
        """Wait until an instant, or skip to it; real time may already be past it."""
        if self._skips:
            self._origin = time.perf_counter_ns() - ns
            return
        while (left := ns - self.now_ns()) > 0:
            if left > SPIN_NS:
                time.sleep((left - SPIN_NS) / 1e9)
