"""The bound on mean latency, compared with a calculation by hand and with a slow simulation."""

import numpy as np
from hypothesis import given, settings

from lapsd import bound_latency_ns
from lapsd.traces import Profile, Workload, price, trace_from_rounds
from tests.builders import row, workload, workloads


def test_the_bound_of_three_requests_is_as_calculated_by_hand():
    profile = Profile.constant(draft_ms=0, verify_ms=10)
    trace = trace_from_rounds([row("a", 1, [0] * 4), row("b", 1, [0]), row("c", 1, [0] * 2)])
    work = workload(price(trace, profile), [0, 5, 6])
    # a runs until 5 (35 remain), b until 15, c until 35, a until 70
    assert (bound_latency_ns(work) / 1e6).tolist() == [70, 10, 29]


def slow_relaxed_srpt(work: Workload) -> int:
    """Return the total latency of SRPT with preemption at every nanosecond."""
    left, total, now = work.size_ns.tolist(), 0, 0
    while any(left):
        ready = [i for i, a in enumerate(work.arrival_ns) if a <= now and left[i]]
        now += 1
        if ready:
            best = min(ready, key=lambda i: left[i])
            left[best] -= 1
            if not left[best]:
                total += now - int(work.arrival_ns[best])
    return total


@settings(max_examples=40)
@given(workloads(profile=Profile.constant(draft_ms=0, verify_ms=1e-5), max_requests=6))
def test_the_bound_equals_srpt_with_preemption_at_every_nanosecond(work):
    work = Workload(work.priced, work.rows, np.minimum(work.arrival_ns, 500), work.predicted_tokens)
    assert bound_latency_ns(work).sum() == slow_relaxed_srpt(work)
