"""Recorded arrivals: when real requests came, and how long they were.

Workloads take the gaps, rescaled to a load, from a random place on. Knows nothing of acceptance,
nor of files (`lapsd.traces.files.arrival_file`).
"""

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.errors import FormatError


class ArrivalTrace:
    """Arrivals of real requests.

    Parameters
    ----------
    arrival_ns, prompt_tokens, output_tokens : int64 arrays (N,), N at least 2
        Arrivals never decrease, and the last is after the first.
    source : where they came from.

    Raises
    ------
    FormatError
        If they do not.
    """

    def __init__(
        self,
        arrival_ns: NDArray[np.int64],
        prompt_tokens: NDArray[np.int64],
        output_tokens: NDArray[np.int64],
        source: str,
    ) -> None:
        if len(arrival_ns) < 2 or arrival_ns[-1] <= arrival_ns[0]:
            raise FormatError(
                f"{source}: {len(arrival_ns)} arrivals at one instant: at least two at different"
                " ones"
            )
        if (falls := np.flatnonzero(np.diff(arrival_ns) < 0)).size:
            raise FormatError(f"{source}: arrival {falls[0] + 1} is before the one that it follows")
        self.arrival_ns, self.prompt_tokens, self.output_tokens = (
            arrival_ns,
            prompt_tokens,
            output_tokens,
        )
        self.source = source

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def __str__(self) -> str:
        return self.source

    @property
    def gaps(self) -> NDArray[np.float64]:
        """Times between arrivals, of mean 1, (N − 1,)."""
        gaps = np.diff(self.arrival_ns).astype(float)
        return np.asarray(gaps / gaps.mean())

    @property
    def rate_per_s(self) -> float:
        """Arrivals a second."""
        return float((len(self) - 1) / (self.arrival_ns[-1] - self.arrival_ns[0]) * 1e9)

    @property
    def cv(self) -> float:
        """Standard deviation of the gaps over their mean."""
        return float(self.gaps.std())


def arrivals_of(rows: list[tuple[int, int, int]], source: str) -> ArrivalTrace:
    """Arrivals from an instant (ns), a prompt and an output length a request, in any order; the
    first is at 0.

    Raises
    ------
    FormatError
        If there are none, or all came at one instant.
    """
    if not rows:
        raise FormatError(f"{source}: no requests")
    arrival, prompt, output = np.array(sorted(rows, key=lambda row: row[0]), dtype=np.int64).T
    return ArrivalTrace(arrival - arrival[0], prompt, output, source)
