"""Tests of the acceptance rules, with chi-squared tests on a toy vocabulary."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from lapsd.calibrate.decoding.acceptance import Verdict, accept_greedy, accept_sampled, draw
from lapsd.calibrate.decoding.decoder import Uniforms

V, N, LENGTH, SEQUENCES = 4, 2, 3, 6_000


def markov(seed: int) -> torch.Tensor:
    """Return probabilities of the next token given the last, (V, V), some of them 0."""
    torch.manual_seed(seed)
    weights = torch.rand(V, V, dtype=torch.float64) ** 2
    weights[0, seed % V] = 0
    return weights / weights.sum(-1, keepdim=True)


TARGET, DRAFT = markov(1), markov(2)


def sequence(rule, request: int) -> tuple[int, ...]:
    """Return LENGTH tokens after token 0, from rounds of N drafted tokens with `rule`."""
    uniforms, tokens = Uniforms(0, request), [0]
    while len(tokens) <= LENGTH:
        drafted, context = [], list(tokens)
        for u in uniforms.draw(N):
            drafted.append(draw(DRAFT[context[-1]], u))
            context.append(drafted[-1])
        before = [tokens[-1], *drafted]
        verdict = rule(drafted, DRAFT[before[:-1]], TARGET[before], uniforms.draw(N + 1))
        tokens += [*drafted[: verdict.accepted], verdict.token]
    return tuple(tokens[1 : LENGTH + 1])


def p_value(rule) -> float:
    counts = dict.fromkeys(itertools.product(range(V), repeat=LENGTH), 0)
    for request in range(SEQUENCES):
        counts[sequence(rule, request)] += 1
    expected = {
        s: SEQUENCES * float(TARGET[0, s[0]] * TARGET[s[0], s[1]] * TARGET[s[1], s[2]])
        for s in counts
    }
    assert all(counts[s] == 0 for s in counts if expected[s] == 0)
    rare = [s for s in counts if 0 < expected[s] < 5]
    common = [s for s in counts if expected[s] >= 5]
    observed = [counts[s] for s in common] + ([sum(counts[s] for s in rare)] if rare else [])
    wanted = [expected[s] for s in common] + ([sum(expected[s] for s in rare)] if rare else [])
    return float(chisquare(observed, wanted, sum_check=False).pvalue)


def test_sampled_output_follows_the_distribution_of_the_target():
    assert p_value(accept_sampled) > 1e-4


def test_drawing_from_the_target_after_a_rejection_is_detected_as_wrong():
    def wrong(drafted, draft, target, uniforms):
        verdict = accept_sampled(drafted, draft, target, uniforms)
        return Verdict(verdict.accepted, draw(target[verdict.accepted], uniforms[-1]))

    with pytest.raises(AssertionError):
        assert p_value(wrong) > 1e-4


def test_equal_distributions_accept_all_drafted_tokens():
    p = torch.tensor([[0.2, 0.5, 0.3]] * 3, dtype=torch.float64)
    assert accept_sampled([1, 2], p[:2], p, [0.999, 0.999, 0.1]) == Verdict(2, 0)


def test_disjoint_distributions_accept_no_drafted_token():
    q, p = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert accept_sampled([0], q, p, [0.0, 0.5]) == Verdict(0, 1)


def test_the_greedy_rule_rejects_from_the_first_difference_on():
    logits = torch.eye(4)[[2, 1, 3]]  # the target's choices: 2, 1, 3
    assert accept_greedy([2, 1], logits) == Verdict(2, 3)
    assert accept_greedy([2, 0], logits) == Verdict(1, 1)
    assert accept_greedy([0, 1], logits) == Verdict(0, 2)


def test_a_token_without_weight_is_never_drawn():
    weights = torch.tensor([0.0, 0.1, 0.0, 0.3, 0.0], dtype=torch.float64)
    drawn = {draw(weights, u) for u in (0.0, 0.2499, 0.2501, 0.9999999999999999)}
    assert drawn == {1, 3}
