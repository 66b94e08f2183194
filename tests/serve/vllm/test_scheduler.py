"""vLLM under lapsd's policies: the order of requests, and tokens that do not depend on it."""

import itertools

import pytest

from tests.serve.vllm.engines import Engine, TimedRequest

# requests of different lengths; some arrive while others run
REQUESTS = [
    TimedRequest(
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
    """Return whether the engine has neither requests nor used blocks."""
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
    return plain.serve(REQUESTS).tokens


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["plain", "speculative", "asynchronous"])
def test_tokens_are_the_same_as_in_vllm_and_running_requests_have_the_best_ranks(
    request, alone, name, policy, preemption
):
    engine: Engine = request.getfixturevalue(name)
    served = engine.serve(REQUESTS, policy=policy, preemption=preemption)
    assert engine.scheduler.active
    assert served.tokens == alone
    assert is_over(engine)
    # the ranks of the other policies depend on the time, which the test takes as 0
    if policy not in ("rr:quantum=3", "gittins", "las-round"):
        assert not engine.inversions


def first_two(rank) -> list[set[str]]:
    """Return the running requests of each step, computed by an independent short program.

    A step emits one token for each of two requests.
    """
    had, steps, running = dict.fromkeys((request.name for request in REQUESTS), 0), [], set()
    for step in itertools.count():
        active = [a for a in REQUESTS if a.step <= step and had[a.name] < a.tokens]
        if not active and step > max(a.step for a in REQUESTS):
            return steps
        active.sort(key=lambda a: (rank(a, had[a.name]), a.name not in running, REQUESTS.index(a)))
        running = {a.name for a in active[:2]}
        steps.append(running)
        for name in running:
            had[name] += 1


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize(
    ("policy", "rank"),
    [
        ("fcfs", lambda request, had: REQUESTS.index(request)),
        ("lp-srpt", lambda request, had: request.tokens - max(1, had)),
        ("lp-sjf", lambda request, had: (had == 0, request.tokens if had == 0 else 0)),
        ("tests.serve.vllm.mine.LastComeFirstServed", lambda request, _: -REQUESTS.index(request)),
    ],
)
def test_exactly_the_requests_that_the_policy_chooses_run(plain, policy, rank, preemption):
    served = plain.serve(REQUESTS, policy=policy, preemption=preemption)
    assert [set(step) for step in served.steps if step] == [
        step for step in first_two(rank) if step
    ]
