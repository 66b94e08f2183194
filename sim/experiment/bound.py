"""The lower bound on mean latency at batch size 1: SRPT in a relaxed problem.

The relaxed server preempts at any instant, switches for free, and counts prefill as part of the
size. SRPT is optimal there (Schrage 1968), and every schedule of the real server is feasible there,
so no policy has a lower mean latency.
"""

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from lapsd.traces import Workload


def bound_latency_ns(workload: Workload) -> NDArray[np.int64]:
    """Return the latency of each request under the relaxed SRPT, (N,), in O(N log N).

    Only their mean is a bound.
    """
    arrivals, sizes = workload.arrival_ns.tolist(), workload.size_ns.tolist()
    finish = np.zeros(len(sizes), dtype=np.int64)
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
    return finish - workload.arrival_ns
