"""Tests that speculative decoding gives exactly the output of the target alone."""

import pytest
import torch

from lapsd.calibrate import Sampling, generate
from lapsd.calibrate.decoding.exactness import greedy_regret
from tests.calibrate.tiny import VOCABULARY, plain_greedy, tiny_pair

PROMPTS = [[3, 1, 4], [7], list(range(20))]


@pytest.mark.parametrize("engine", ["lean", "hf"])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05, 1.0])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_greedy_output_equals_the_greedy_output_of_the_target(noise, n, engine):
    pair = tiny_pair(noise, engine=engine)
    for prompt in PROMPTS:
        generation = generate(pair, prompt, n=n, max_new_tokens=40, sampling=Sampling())
        assert generation.tokens == plain_greedy(pair.target, prompt, 40)


def test_noisy_drafts_have_all_numbers_of_accepted_tokens():
    # otherwise the test above would not detect a wrong rollback
    accepted = [
        r.accepted
        for noise in (0.01, 0.05)
        for p in PROMPTS
        for r in generate(tiny_pair(noise), p, n=4, max_new_tokens=60, sampling=Sampling()).rounds
    ]
    assert {0, 1, 2, 3, 4} <= set(accepted)


def test_all_tokens_of_a_draft_equal_to_the_target_are_accepted():
    rounds = generate(tiny_pair(0.0), [5, 6], n=4, max_new_tokens=42, sampling=Sampling()).rounds
    assert [r.accepted for r in rounds] == [4] * 8 + [2]
    assert [r.emitted for r in rounds] == [5] * 8 + [2]


@pytest.mark.parametrize("n", [1, 3, 4])
def test_emitted_tokens_of_the_rounds_add_up_to_the_output(n):
    for noise in (0.0, 0.05, 1.0):
        for cap in (1, 2, 7, 30):
            generation = generate(
                tiny_pair(noise), [9, 2], n=n, max_new_tokens=cap, sampling=Sampling()
            )
            rounds = generation.rounds
            assert len(generation.tokens) == cap == sum(r.emitted for r in rounds)
            surplus = sum(r.accepted + 1 for r in rounds) - cap
            assert surplus == 0 or (surplus == 1 and rounds[-1].accepted > 0)
            assert [r.context for r in rounds] == [
                2 + sum(q.emitted for q in rounds[:i]) for i in range(len(rounds))
            ]
            assert all(r.drafted == n and r.draft_ns > 0 and r.verify_ns > 0 for r in rounds)


def test_output_ends_with_the_first_stop_token_at_any_position_in_a_round():
    free = plain_greedy(tiny_pair(0.0).target, [3, 1, 4], 40)
    for token in dict.fromkeys(free):
        stop = frozenset({token})
        for noise in (0.0, 0.05):
            pair = tiny_pair(noise, stop=stop)
            generation = generate(pair, [3, 1, 4], n=4, max_new_tokens=40, sampling=Sampling())
            assert generation.tokens == free[: free.index(token) + 1]
            surplus = sum(r.accepted + 1 for r in generation.rounds) - len(generation.tokens)
            assert surplus in (0, 1)


def test_single_precision_output_is_greedy_up_to_rounding():
    pair = tiny_pair(0.05, torch.float32)
    for prompt in PROMPTS:
        output = generate(pair, prompt, n=4, max_new_tokens=60, sampling=Sampling()).tokens
        regret = greedy_regret(pair, prompt, output, 4)
        assert regret.exact, regret
        assert regret.tolerance < 1e-3
        wrong = [*output[:20], (output[20] + 1) % VOCABULARY, *output[21:]]
        assert not greedy_regret(pair, prompt, wrong, 4).exact


def test_sampling_depends_only_on_seed_and_request():
    pair = tiny_pair(0.05)

    def output(seed, request):
        return generate(
            pair, [1, 2], n=3, max_new_tokens=25, sampling=Sampling(1.0, seed), request=request
        ).tokens

    assert output(0, 0) == output(0, 0)
    assert len({tuple(output(s, r)) for s in (0, 1) for r in (0, 1)}) == 4


def test_invalid_arguments_of_generate_raise_errors():
    with pytest.raises(ValueError, match="needs a context of 129, but the models have 128"):
        generate(tiny_pair(0.0), [1] * 100, n=4, max_new_tokens=24, sampling=Sampling())
    with pytest.raises(ValueError, match="draft tokens -1: must be at least 0"):
        generate(tiny_pair(0.0), [1], n=-1, max_new_tokens=4, sampling=Sampling())
    with pytest.raises(ValueError, match="temperature=-1"):
        Sampling(-1)
