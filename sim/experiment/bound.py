"""The lower bound on mean latency at batch size 1: SRPT of the relaxed problem.

Relaxed: preemption at any instant, switching free, prefill counted as size. There SRPT is optimal
(Schrage 1968), and every schedule of the real server is feasible, so no policy can be faster on
average.
"""

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from lapsd.traces import Workload


def bound_latency_ns(workload: Workload) -> NDArray[np.int64]:
    """Latency of each request under the relaxed SRPT, (N,); only their mean is a bound.

    O(N log N).
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
