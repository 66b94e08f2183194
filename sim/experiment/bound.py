"""The lower bound on mean latency at batch size 1: SRPT in a relaxed problem.

The relaxed server preempts at any instant, switches for free, and counts prefill as part of the
size. SRPT is optimal there (Schrage 1968), and every schedule of the real server is feasible there,
so no policy has a lower mean latency. Instead of several servers the relaxed problem has one that
is as fast as all of them together, which can do whatever they can.
"""

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from lapsd.traces import Workload


def bound_latency_ns(workload: Workload, servers: int = 1) -> NDArray[np.float64]:
    """Return the latency of each request under the relaxed SRPT in nanoseconds, (N,), in O(N log
    N).

    Only their mean is a bound.

    Parameters
    ----------
    workload : Workload
        The requests, in order of arrival.
    servers : int, default 1
        Number of servers that share the requests.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import SRPT
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference", "reference", requests=20, load=0.9
    ... )
    >>> bound_ns = lapsd.bound_latency_ns(prepared.workload(0)).mean()
    >>> done = lapsd.run(prepared, SRPT(), seed=0)
    >>> bool(bound_ns <= done.latency_ns.mean())
    True
    """
    # with times in 1 / servers of a nanosecond, a server that is so many times as fast is exact
    arrivals = [servers * at_ns for at_ns in workload.arrival_ns.tolist()]
    sizes = workload.size_ns.tolist()
    finish = [0] * len(sizes)
    heap: list[tuple[int, int]] = []
    now = 0
    for index, (arrival, size) in enumerate(zip(arrivals, sizes, strict=True)):
        while heap and now < arrival:
            remaining, job = heappop(heap)
            served = min(remaining, arrival - now)
            now += served
            if served < remaining:
                heappush(heap, (remaining - served, job))
            else:
                finish[job] = now
        now = max(now, arrival)
        heappush(heap, (size, index))
    while heap:
        remaining, job = heappop(heap)
        now += remaining
        finish[job] = now
    return np.array(
        [(end - at) / servers for end, at in zip(finish, arrivals, strict=True)], dtype=float
    )
