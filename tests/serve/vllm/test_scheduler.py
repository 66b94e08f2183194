"""vLLM serving by lapsd's policies: who runs, in what order, and that no token depends on it."""

from dataclasses import replace

import pytest

from tests.serve.vllm.engines import Ask, Engine

# of all lengths, and some come while others run
ASKS = [
    Ask(f"r{i}", tokens, prompt=[(7 * i + j) % 60 + 1 for j in range(3 + 5 * i)], step=step, predicted=tokens)
    for i, (tokens, step) in enumerate([(60, 0), (45, 0), (8, 2), (30, 5), (5, 9), (20, 9), (12, 30), (40, 31)])
]
OUTLOOK = {"mean_round_ns": 1_000_000, "past_sizes_ns": [20_000_000, 40_000_000, 80_000_000]}
POLICIES = ["fcfs", "rr:quantum=3", "las", "las-round", "gittins", "lp-sjf", "lp-srpt", "laps-sd:K=6"]


@pytest.mark.parametrize("preemption", ["recompute", "parked"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["plain", "speculative"])
def test_every_request_has_the_tokens_that_vllm_gives_it_alone(request, name, policy, preemption):
    engine: Engine = request.getfixturevalue(name)
    expected = engine.serve(ASKS).tokens
    served = engine.serve(ASKS, policy=policy, preemption=preemption, outlook=OUTLOOK)
    assert engine.scheduler.active
    assert served.tokens == expected
    assert {name: len(tokens) for name, tokens in served.tokens.items()} == {ask.name: ask.tokens for ask in ASKS}
    assert not engine.scheduler.parked
    assert not engine.scheduler.decisions.jobs
