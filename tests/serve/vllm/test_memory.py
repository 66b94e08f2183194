"""vLLM under a policy when blocks are scarce: evictions, and the outputs of all requests."""

from dataclasses import replace

import pytest

from lapsd.serve.vllm.settings import Settings
from tests.serve.vllm.engines import Engine, TimedRequest
from tests.serve.vllm.test_scheduler import PREEMPTIONS, is_over

# the engine has 6 blocks of 32 tokens; each long request needs three or four blocks at its end
LONG = [
    TimedRequest(
        f"long{i}",
        70 + 5 * i,
        prompt=[(11 * i + j) % 60 + 1 for j in range(10 + 8 * i)],
        step=10 * i,
        predicted=p,
    )
    for i, p in enumerate([80, 45, 85, 15])
]
SHORT = [
    TimedRequest(f"short{i}", 12, prompt=[9 + i] * 30, step=28 + 15 * i, predicted=12)
    for i in range(4)
]


@pytest.fixture(scope="module")
def alone(tight: Engine) -> dict[str, list[int]]:
    return tight.serve([*LONG, *SHORT]).tokens


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("policy", ["fcfs", "rr:quantum=4", "las", "lp-srpt", "laps-sd:gamma=1"])
def test_with_scarce_memory_all_requests_finish_with_the_same_tokens(
    tight, alone, policy, preemption
):
    served = tight.serve([*LONG, *SHORT], policy=policy, preemption=preemption)
    assert tight.scheduler.active
    assert served.tokens == alone
    assert is_over(tight)


def test_parked_requests_lose_their_blocks_first_and_the_worst_rank_before_others(tight):
    """The long requests hold nearly all blocks when the short ones take their batch slots."""
    scheduler, lost = tight.scheduler, []
    evict = scheduler.evict

    def spying(request):
        places = [scheduler.place(parked) for parked in scheduler.parked]
        lost.append((request in scheduler.parked, scheduler.place(request), places))
        evict(request)

    scheduler.evict = spying
    try:
        requests = [replace(request, step=0) for request in LONG] + [
            replace(request, step=15) for request in SHORT
        ]
        tight.serve(requests, policy="lp-srpt", preemption="parked")
    finally:
        del scheduler.evict
    assert max(len(places) for _, _, places in lost) > 1, "memory was not scarce"
    for was_parked, place, places in lost:
        assert was_parked
        assert place == max(places)


@pytest.mark.parametrize("preemption", PREEMPTIONS)
def test_the_best_request_gets_the_blocks_of_the_worst(tight, preemption):
    """`vast` holds nearly all blocks when `best` arrives; one step later `vast` has lost them."""
    vast = TimedRequest("vast", 20, prompt=[5] * 100, predicted=200)
    best = TimedRequest("best", 15, prompt=[7] * 70, step=3, predicted=15)
    served = tight.serve([vast, best], policy="lp-srpt", preemption=preemption)
    first = next(i for i, step in enumerate(served.steps) if "best" in step)
    assert first <= 5
    assert served.order == ["best", "vast"]
    assert all("vast" not in step for step in served.steps[first : first + 14])
    assert is_over(tight)


def test_no_request_loses_its_blocks_to_one_with_a_worse_rank(tight):
    """`late` does not fit together with `vast`, and waits until it finishes."""
    vast = TimedRequest("vast", 20, prompt=[5] * 100, predicted=20)
    late = TimedRequest("late", 15, prompt=[7] * 70, step=3, predicted=100)
    served = tight.serve([vast, late], policy="lp-srpt", preemption="recompute")
    assert served.order == ["vast", "late"]
    assert [s for s in served.steps if s] == [s for s in served.steps if "vast" in s] + [
        s for s in served.steps if "late" in s
    ]


def test_a_reset_of_the_cache_includes_parked_requests(tight):
    requests = [
        TimedRequest("a", 40, predicted=40),
        *(TimedRequest(f"b{i}", 20, prompt=[i + 1] * 20, predicted=10) for i in range(4)),
    ]
    expected = tight.serve(requests).tokens
    tight.begin()
    tight.scheduler.configure(Settings(policy="lp-srpt", preemption="parked"))
    tight.add(requests[0])
    tight.step()
    for request in requests[1:]:
        tight.add(request)
    tight.step()
    assert [tight.names[r.request_id] for r in tight.scheduler.parked] == ["a"]
    assert tight.scheduler.get_request_counts() == (5, 0)
    assert not tight.engine.reset_prefix_cache()  # refused while requests hold blocks
    assert tight.engine.reset_prefix_cache(reset_running_requests=True)
    assert not tight.scheduler.parked
    while tight.engine.has_unfinished_requests():
        tight.step()
    assert tight.served.tokens == expected
    assert is_over(tight)
