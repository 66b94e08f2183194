"""vLLM serving by lapsd's policies: who runs, in what order, and that no token depends on it."""

import itertools

import pytest

from tests.serve.vllm.engines import Ask, Engine

# of all lengths, and some come while others run
ASKS = [
    Ask(
        f"r{i}",
        tokens,
        prompt=[(7 * i + j) % 60 + 1 for j in range(3 + 5 * i)],
        step=step,
        predicted=tokens,
    )
    for i, (tokens, step) in enumerate(
        [(60, 0), (45, 0), (8, 2), (30, 5), (5, 9), (20, 9), (12, 30), (40, 31)]
    )
]
POLICIES = [
    "fcfs",
    "rr:quantum=3",
    "las",
    "las-round",
    "gittins",
    "lp-sjf",
    "lp-srpt",
    "laps-sd:K=6",
    "tests.serve.vllm.mine.LastComeFirstServed:weight=2",
]
PREEMPTIONS = ["recompute", "parked"]


def is_over(engine: Engine) -> bool:
    """Nothing is left of any request, nor of its blocks."""
    scheduler = engine.scheduler
    queues = (
        scheduler.running,
        scheduler.waiting,
        scheduler.parked,
        scheduler.requests,
        scheduler.decisions.jobs,
    )
    return (
        not any(queues)
        and scheduler.get_request_counts() == (0, 0)
        and scheduler.get_kv_cache_usage() == 0
    )


@pytest.fixture(scope="module")
def alone(plain: Engine) -> dict[str, list[int]]:
    """The tokens of each request under vLLM's own scheduler."""
    return plain.serve(ASKS).tokens


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["plain", "speculative", "ahead"])
def test_tokens_are_those_of_vllm_alone_and_nobody_waits_who_ranks_before_one_who_runs(
    request, alone, name, policy, preemption
):
    engine: Engine = request.getfixturevalue(name)
    served = engine.serve(ASKS, policy=policy, preemption=preemption)
    assert engine.scheduler.active
    assert served.tokens == alone
    assert is_over(engine)
    if policy not in (
        "rr:quantum=3",
        "gittins",
        "las-round",
    ):  # their ranks move with time, which the spy reads as 0
        assert not engine.jealous


def first_two(rank) -> list[set[str]]:
    """Who runs in each step where a step is a token for two, by an independent program of a few
    lines.
    """
    had, steps, running = dict.fromkeys((ask.name for ask in ASKS), 0), [], set()
    for step in itertools.count():
        there = [a for a in ASKS if a.step <= step and had[a.name] < a.tokens]
        if not there and step > max(a.step for a in ASKS):
            return steps
        there.sort(key=lambda a: (rank(a, had[a.name]), a.name not in running, ASKS.index(a)))
        running = {a.name for a in there[:2]}
        steps.append(running)
        for name in running:
            had[name] += 1


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize(
    ("policy", "rank"),
    [
        ("fcfs", lambda ask, had: ASKS.index(ask)),
        ("lp-srpt", lambda ask, had: ask.tokens - max(1, had)),
        ("lp-sjf", lambda ask, had: (had == 0, ask.tokens if had == 0 else 0)),
        ("tests.serve.vllm.mine.LastComeFirstServed", lambda ask, had: -ASKS.index(ask)),
    ],
)
def test_who_runs_is_who_the_policy_says(plain, policy, rank, preemption):
    served = plain.serve(ASKS, policy=policy, preemption=preemption)
    assert [set(step) for step in served.steps if step] == [
        step for step in first_two(rank) if step
    ]
