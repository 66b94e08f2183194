"""A live run's clock: real time in integer nanoseconds from the run's beginning, but for how idle
time goes by.
"""

import time

SPIN_NS = 2_000_000  # sleeping ends late by about as much


class Clock:
    """Real time, 0 when made.

    Parameters
    ----------
    kind : "wall": idle time is slept through; "busy": it is leapt over, so that only durations
    differ between runs.
    """

    def __init__(self, kind: str) -> None:
        self._leaps = kind == "busy"
        self._origin = time.perf_counter_ns()

    def now_ns(self) -> int:
        """The present instant."""
        return time.perf_counter_ns() - self._origin

    def stop(self) -> None:
        """Stand still until `go`, whatever is done meanwhile."""
        self._stopped = time.perf_counter_ns()

    def go(self) -> None:
        """Go on from where it stopped."""
        self._origin += time.perf_counter_ns() - self._stopped

    def idle_until(self, ns: int) -> None:
        """Come to an instant with nothing to do; real time may be beyond it already."""
        if self._leaps:
            self._origin = time.perf_counter_ns() - ns
            return
        while (left := ns - self.now_ns()) > 0:
            if left > SPIN_NS:
                time.sleep((left - SPIN_NS) / 1e9)
