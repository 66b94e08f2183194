"""Workloads: which requests arrive when, and their predicted output lengths.

All randomness of a simulation is drawn here. Each purpose has its own generator, keyed by (seed,
stream). Generators draw gaps of mean 1 and standard normals, which are scaled afterwards. So every
policy, load and error level sees the same requests, and the first 10 of 30 requests are the
workload of 10 requests.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.arrival_trace import ArrivalTrace
from lapsd.traces.predictors import LengthPredictor, Oracle
from lapsd.traces.pricing import PricedTrace

REQUEST_STREAM, ARRIVAL_STREAM = 1, 2  # predictors use the streams from 3 on
LONGEST_S = 10**9


@dataclass(frozen=True)
class Arrivals:
    """How requests arrive.

    Exactly one of `load`, `rate_per_s`, `all_at_once` and `clients` must be given.

    Attributes
    ----------
    load : float or None
        Mean work that arrives per unit of time. The rate is load / E[S], with the mean size E[S] of
        the requests in the trace that the workload is drawn from.
    rate_per_s : float or None
        Requests per second.
    all_at_once : bool
        All requests arrive at time 0.
    cv : float
        Coefficient of variation of the gaps between arrivals: standard deviation over mean. Gaps
        are independent and Gamma distributed; 1 is a Poisson process.
    recorded : ArrivalTrace or None
        Recorded arrivals whose gaps are used instead, in their order from a random position,
        cyclically, rescaled to the load or rate.
    clients : int or None
        Number of clients in a closed loop. Each client sends its first request at time 0, and the
        next one `think_s` seconds after the previous one completes.
    think_s : float
        Think time of each client in seconds.

    Examples
    --------
    >>> import lapsd
    >>> arrivals = lapsd.Arrivals(load=0.8, cv=2.0)
    >>> arrivals.overloaded
    False
    >>> lapsd.Arrivals(clients=4, think_s=0.5).clients
    4
    """

    load: float | None = None
    rate_per_s: float | None = None
    all_at_once: bool = False
    cv: float = 1.0
    recorded: ArrivalTrace | None = None
    clients: int | None = None
    think_s: float = 0.0

    def __post_init__(self) -> None:
        ways = (
            self.load is not None,
            self.rate_per_s is not None,
            self.all_at_once,
            self.clients is not None,
        )
        if sum(ways) != 1:
            raise ValueError(
                "arrivals: give either a load, a rate, all-at-once or a number of clients"
            )
        if self.clients is not None and self.clients < 1:
            raise ValueError(f"clients={self.clients}: must be at least 1")
        if not 0 <= self.think_s <= LONGEST_S:
            raise ValueError(f"think={self.think_s}: must be at least 0, and at most {LONGEST_S} s")
        if self.think_s and self.clients is None:
            raise ValueError(f"think={self.think_s}: applies only to a number of clients")
        for name, value in (("load", self.load), ("rate", self.rate_per_s)):
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"{name} {value}: must be above 0")
        if not 0 < self.cv <= 100:
            raise ValueError(f"cv={self.cv}: must be above 0, and at most 100")
        at_once = self.all_at_once or self.clients is not None
        if self.cv != 1 and (self.recorded is not None or at_once):
            raise ValueError(
                f"cv={self.cv}: does not apply to recorded arrivals, all-at-once or clients"
            )
        if self.recorded is not None and at_once:
            raise ValueError("recorded arrivals need a load or a rate")

    def unit_gaps(self, requests: int, seed: int) -> NDArray[np.float64]:
        """Return the gap before each arrival, with mean 1, (requests,).

        The first gaps do not depend on the number of requests.
        """
        rng = np.random.default_rng([seed, ARRIVAL_STREAM])
        if self.recorded is not None:
            gaps = self.recorded.gaps
            return np.asarray(
                gaps[(int(rng.integers(len(gaps))) + np.arange(requests)) % len(gaps)]
            )
        if self.cv == 1:
            return rng.standard_exponential(requests)
        return rng.standard_gamma(self.cv**-2, requests) * self.cv**2

    def mean_gap_ns(self, mean_size_ns: float) -> float:
        """Return the mean time between arrivals in nanoseconds."""
        if self.all_at_once or self.clients is not None:
            return 0.0
        return (
            mean_size_ns / self.load
            if self.load is not None
            else 1e9 / (self.rate_per_s or math.nan)
        )

    @property
    def overloaded(self) -> bool:
        """Whether the load is at least 1, so that results depend on the number of requests."""
        return self.load is not None and self.load >= 1


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests in order of arrival.

    The index of a request in these arrays is its key in a run.

    Attributes
    ----------
    rows : int64 array (N,)
        Row of each request in `priced.trace`; a row may repeat.
    arrival_ns, predicted_tokens : int64 arrays (N,)
        Arrival times, which never decrease, and predicted output lengths.
    clients : int or None
        Number of clients in a closed loop. As many requests arrive at time 0, and one more
        `think_ns` after each completion.
    think_ns : int
        Think time of each client.

    Examples
    --------
    >>> import lapsd
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference", "reference", requests=20, load=0.9
    ... )
    >>> workload = prepared.workload(0)
    >>> bool((workload.size_ns > 0).all())
    True
    """

    priced: PricedTrace
    rows: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    predicted_tokens: NDArray[np.int64]
    seed: int = 0
    clients: int | None = None
    think_ns: int = 0

    def __post_init__(self) -> None:
        if len(self.arrival_ns) and (
            self.arrival_ns[0] < 0 or np.any(np.diff(self.arrival_ns) < 0)
        ):
            i = int(np.argmax(np.diff(self.arrival_ns, prepend=0) < 0))
            raise ValueError(
                f"arrival of request {i} at {self.arrival_ns[i]} ns: arrivals must not decrease"
            )
        if self.clients is not None and np.any(self.arrival_ns != 0):
            raise ValueError("a closed loop begins with all clients at time 0")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size_ns(self) -> NDArray[np.int64]:
        """Time of the prefill and the rounds of each request, (N,)."""
        return self.priced.size_ns[self.rows]

    @property
    def realised_load(self) -> float:
        """Sum of the requests' sizes over the time of the last arrival; NaN if that is 0."""
        span = int(self.arrival_ns[-1])
        return float(self.size_ns.sum() / span) if span else math.nan


def draw_workload(
    priced: PricedTrace,
    *,
    requests: int,
    seed: int,
    arrivals: Arrivals,
    predictor: LengthPredictor | None = None,
    mean_size_ns: float | None = None,
    in_order: bool = False,
) -> Workload:
    """Return a workload of requests drawn from `priced` with replacement.

    Parameters
    ----------
    priced : PricedTrace
        The trace to draw from, priced by a profile.
    requests : int
        Number of requests, at least 1.
    seed : int
        Seed of the random numbers, at least 0.
    arrivals : Arrivals
        How the requests arrive.
    predictor : LengthPredictor or None, optional
        Predictor of output lengths; None: the true lengths.
    mean_size_ns : float or None, optional
        Mean size E[S] that a load is relative to; None: that of `priced`.
    in_order : bool, default False
        Whether the requests are consecutive rows from a drawn one on, the first row after the last,
        instead of drawn one by one.

    Raises
    ------
    ValueError
        If `requests` or `seed` is out of range, or the last arrival is later than `LONGEST_S`
        seconds.

    Examples
    --------
    >>> import lapsd
    >>> priced = lapsd.price(lapsd.load_trace("reference"), lapsd.load_profile("reference"))
    >>> workload = lapsd.draw_workload(
    ...     priced, requests=20, seed=0, arrivals=lapsd.Arrivals(load=0.8)
    ... )
    >>> len(workload.rows)
    20
    """
    if requests < 1:
        raise ValueError(f"requests={requests}: must be at least 1")
    if seed < 0:
        raise ValueError(f"seed={seed}: must be at least 0")
    rng, many = np.random.default_rng([seed, REQUEST_STREAM]), len(priced.trace)
    if in_order:
        rows = (int(rng.integers(many)) + np.arange(requests)) % many
    else:
        rows = rng.integers(many, size=requests)
    gap_ns = arrivals.mean_gap_ns(mean_size_ns or priced.mean_size_ns)
    with np.errstate(invalid="ignore"):  # 0 times infinity
        arrival = np.cumsum(arrivals.unit_gaps(requests, seed)) * gap_ns
    if not arrival[-1] <= LONGEST_S * 1e9:
        raise ValueError(
            f"{requests} requests would take {arrival[-1] / 1e9:.3g} s to arrive, above"
            f" {LONGEST_S} s"
        )
    predicted = (predictor or Oracle()).predict(rows, priced.trace, seed)
    think_ns = round(arrivals.think_s * 1e9)
    return Workload(
        priced, rows, np.rint(arrival).astype(np.int64), predicted, seed, arrivals.clients, think_ns
    )
