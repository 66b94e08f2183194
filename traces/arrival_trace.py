"""Recorded arrivals: arrival times and lengths of real requests.

Workloads use the gaps between arrivals from a random position on, rescaled to a load. This module
knows nothing of acceptance, nor of files (`lapsd.traces.files.arrival_file`).
"""

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.errors import FormatError
from lapsd.traces.prefixes import Prefixes

LONGEST_NS = 10**18  # time of the last arrival


class ArrivalTrace:
    """Arrivals of real requests.

    Parameters
    ----------
    arrival_ns, prompt_tokens, output_tokens : int64 arrays (N,), N at least 2
        Arrivals never decrease, and the last is after the first.
    source : str
        Where the arrivals come from, in words.
    prefixes : Prefixes or None, optional
        Hashes of the leading blocks of the prompts, or None.

    Raises
    ------
    FormatError
        If arrivals decrease, are out of range, or are all at one instant, if a number of tokens is
        out of range, or if prefixes do not fit the prompts.

    Examples
    --------
    >>> import numpy as np
    >>> from lapsd.traces import ArrivalTrace
    >>> tokens = np.array([100, 200, 300])
    >>> recorded = ArrivalTrace(
    ...     np.array([0, 10**9, 2 * 10**9]), tokens, tokens, source="by hand"
    ... )
    >>> recorded.rate_per_s, recorded.cv
    (1.0, 0.0)
    """

    def __init__(
        self,
        arrival_ns: NDArray[np.int64],
        prompt_tokens: NDArray[np.int64],
        output_tokens: NDArray[np.int64],
        source: str,
        prefixes: Prefixes | None = None,
    ) -> None:
        for name, tokens in (("prompt_tokens", prompt_tokens), ("output_tokens", output_tokens)):
            if (bad := np.flatnonzero((tokens < 0) | (tokens >= 2**31))).size:
                raise FormatError(
                    f"{source}: arrival {bad[0]}, {name} {tokens[bad[0]]}: must be at least 0 and"
                    f" below {2**31}"
                )
        if len(arrival_ns) and not 0 <= arrival_ns.min() <= arrival_ns.max() <= LONGEST_NS:
            raise FormatError(
                f"{source}: arrivals from {arrival_ns.min()} to {arrival_ns.max()} ns: must be"
                f" between 0 and {LONGEST_NS}"
            )
        if len(arrival_ns) < 2 or arrival_ns[-1] <= arrival_ns[0]:
            raise FormatError(
                f"{source}: {len(arrival_ns)} arrivals at one instant: needs at least two different"
                " arrival times"
            )
        if (falls := np.flatnonzero(np.diff(arrival_ns) < 0)).size:
            raise FormatError(f"{source}: arrival {falls[0] + 1} is before arrival {falls[0]}")
        self.arrival_ns, self.prompt_tokens, self.output_tokens = (
            arrival_ns,
            prompt_tokens,
            output_tokens,
        )
        self.source, self.prefixes = source, prefixes
        if prefixes is not None:
            prefixes.check(prompt_tokens, source)

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def __str__(self) -> str:
        return self.source

    @property
    def gaps(self) -> NDArray[np.float64]:
        """Times between arrivals, scaled to mean 1, (N − 1,)."""
        gaps = np.diff(self.arrival_ns).astype(float)
        return np.asarray(gaps / gaps.mean())

    @property
    def rate_per_s(self) -> float:
        """Arrivals per second."""
        return float((len(self) - 1) / (self.arrival_ns[-1] - self.arrival_ns[0]) * 1e9)

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps: standard deviation over mean."""
        return float(self.gaps.std())


def arrivals_of(
    rows: list[tuple[int, int, int]], source: str, prefixes: Prefixes | None = None
) -> ArrivalTrace:
    """Return recorded arrivals, the first at time 0.

    Parameters
    ----------
    rows : arrival time in ns, prompt tokens and output tokens of each request, in any order.
    prefixes : hashes of the leading blocks of each prompt, or None.

    Raises
    ------
    FormatError
        If there are no requests, or `ArrivalTrace` refuses them.
    """
    if not rows:
        raise FormatError(f"{source}: no requests")
    order = sorted(range(len(rows)), key=lambda i: rows[i][0])
    rows = [rows[i] for i in order]
    first_ns, last_ns = rows[0][0], rows[-1][0]
    if last_ns - first_ns > LONGEST_NS:
        raise FormatError(
            f"{source}: arrivals over {(last_ns - first_ns) / 1e9:.3g} s: must be at most"
            f" {LONGEST_NS // 10**9} s"
        )
    shifted = [(at_ns - first_ns, prompt, output) for at_ns, prompt, output in rows]
    arrival, prompt, output = np.array(shifted, dtype=np.int64).T
    if prefixes is not None:
        prefixes = prefixes.take(np.array(order))
    return ArrivalTrace(arrival, prompt, output, source, prefixes)
