"""vLLM under a policy when blocks are few: who loses them, that nobody is lost, and that tokens
stay.
"""

from dataclasses import replace

import pytest

from lapsd.serve.vllm.settings import Settings
from tests.serve.vllm.engines import Ask, Engine
from tests.serve.vllm.test_scheduler import PREEMPTIONS, is_over

# the engine has 6 blocks of 32 tokens: any of the long ones needs three or four of them in the end
LONG = [
    Ask(
        f"long{i}",
        70 + 5 * i,
        prompt=[(11 * i + j) % 60 + 1 for j in range(10 + 8 * i)],
        step=10 * i,
        predicted=p,
    )
    for i, p in enumerate([80, 45, 85, 15])
]
SHORT = [
    Ask(f"short{i}", 12, prompt=[9 + i] * 30, step=28 + 15 * i, predicted=12) for i in range(4)
]


@pytest.fixture(scope="module")
def alone(tight: Engine) -> dict[str, list[int]]:
    return tight.serve([*LONG, *SHORT]).tokens


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("policy", ["fcfs", "rr:quantum=4", "las", "lp-srpt", "laps-sd:gamma=1"])
def test_where_memory_is_tight_everybody_finishes_with_the_same_tokens(
    tight, alone, policy, preemption
):
    served = tight.serve([*LONG, *SHORT], policy=policy, preemption=preemption)
    assert tight.scheduler.active
    assert served.tokens == alone
    assert is_over(tight)


def test_the_parked_lose_their_blocks_before_those_who_run_and_the_worst_of_them_first(tight):
    """The long ones hold nearly all blocks when the short ones take their seats."""
    scheduler, lost = tight.scheduler, []
    evict = scheduler.evict

    def spying(request):
        there = [scheduler.place(parked) for parked in scheduler.parked]
        lost.append((request in scheduler.parked, scheduler.place(request), there))
        evict(request)

    scheduler.evict = spying
    try:
        asks = [replace(ask, step=0) for ask in LONG] + [replace(ask, step=15) for ask in SHORT]
        tight.serve(asks, policy="lp-srpt", preemption="parked")
    finally:
        del scheduler.evict
    assert max(len(places) for _, _, places in lost) > 1, "memory was not tight"
    for was_parked, place, places in lost:
        assert was_parked
        assert place == max(places)


@pytest.mark.parametrize("preemption", PREEMPTIONS)
def test_one_who_ranks_first_gets_the_blocks_of_one_who_ranks_last(tight, preemption):
    """Vast holds nearly all blocks; Best comes, finds too few, and the step after Vast has made
    room.
    """
    vast = Ask("vast", 20, prompt=[5] * 100, predicted=200)
    best = Ask("best", 15, prompt=[7] * 70, step=3, predicted=15)
    served = tight.serve([vast, best], policy="lp-srpt", preemption=preemption)
    first = next(i for i, step in enumerate(served.steps) if "best" in step)
    assert first <= 5
    assert served.order == ["best", "vast"]
    assert all("vast" not in step for step in served.steps[first : first + 14])
    assert is_over(tight)


def test_nobody_is_thrown_out_for_one_who_ranks_behind(tight):
    """The same the other way round: Late does not fit beside Vast, and waits for it."""
    vast = Ask("vast", 20, prompt=[5] * 100, predicted=20)
    late = Ask("late", 15, prompt=[7] * 70, step=3, predicted=100)
    served = tight.serve([vast, late], policy="lp-srpt", preemption="recompute")
    assert served.order == ["vast", "late"]
    assert [s for s in served.steps if s] == [s for s in served.steps if "vast" in s] + [
        s for s in served.steps if "late" in s
    ]


def test_a_reset_of_the_cache_takes_the_parked_along(tight):
    asks = [
        Ask("a", 40, predicted=40),
        *(Ask(f"b{i}", 20, prompt=[i + 1] * 20, predicted=10) for i in range(4)),
    ]
    expected = tight.serve(asks).tokens
    tight.begin()
    tight.scheduler.configure(Settings(policy="lp-srpt", preemption="parked"))
    tight.add(asks[0])
    tight.step()
    for ask in asks[1:]:
        tight.add(ask)
    tight.step()
    assert [tight.names[r.request_id] for r in tight.scheduler.parked] == ["a"]
    assert tight.scheduler.get_request_counts() == (5, 0)
    assert (
        not tight.engine.reset_prefix_cache()
    )  # those who hold blocks are in the way, the parked too
    assert tight.engine.reset_prefix_cache(reset_running_requests=True)
    assert not tight.scheduler.parked
    while tight.engine.has_unfinished_requests():
        tight.step()
    assert tight.found.tokens == expected
    assert is_over(tight)
