"""Requests, profiles and servers of the schedules that are worked out by hand."""

from lapsd import Capacity, Run, simulate
from lapsd.policies import Policy, PolicyContext
from lapsd.policies.kv_slots import KVSlots
from lapsd.traces import Costs, Linear, Profile, RoundTerms, Workload, price, trace_from_rounds
from tests.builders import MS, row, workload

# A round takes 2 + 8 = 10 ms, a prefill 1 ms per token except the last, and a KV transfer 3 ms in
# each direction.
PROFILE = Profile.constant(draft_ms=2, verify_ms=8, prefill_ms_per_token=1, swap_ms=3)
A = row("A", prompt=6, accepted=[0, 0, 0, 0], n=1)  # prefill 5 ms, four rounds
B = row("B", prompt=1, accepted=[0, 0, 0], n=1)  # no prefill, three rounds
C = row("C", prompt=3, accepted=[1], n=1)  # prefill 2 ms, one round of two tokens
SUP_1_S = 0.015  # a request leaves the first queue after its second round


def three_requests() -> Workload:
    return workload(price(trace_from_rounds([A, B, C]), PROFILE), arrivals_ms=[0, 12, 13])


def served(policy: Policy, kv_slots: KVSlots = 1) -> Run:
    work, capacity = three_requests(), Capacity(kv_slots=kv_slots)
    return simulate(
        work, policy, context=PolicyContext(10 * MS, [30 * MS]), capacity=capacity, check=True
    )


TWO = Profile(
    "by_hand",
    "unknown",
    Costs(
        {
            1: RoundTerms(Linear(0, 0), {1: 10 * MS}, {1: 0}, 0),
            2: RoundTerms(Linear(0, 0), {1: 12 * MS}, {1: 1_000}, 0),
        },
        *[Linear(MS, 0)] * 3,
    ),
)


def in_batches(rows_of_rounds, arrivals, policy, **capacity):
    rows = [row(str(i), 1, [0] * k, n=0) for i, k in enumerate(rows_of_rounds)]
    work = workload(price(trace_from_rounds(rows), TWO), arrivals)
    return simulate(
        work,
        policy,
        context=PolicyContext(10 * MS, [30 * MS]),
        capacity=Capacity(**capacity),
        check=True,
    )
