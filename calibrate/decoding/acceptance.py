"""Acceptance rules: which drafted tokens the target accepts, and the token after them.

All functions are pure functions of logits or probabilities and of uniform random numbers. The rule
for sampling is that of Leviathan et al. (arXiv 2211.17192) and Chen et al. (arXiv 2302.01318); it
keeps the target's distribution. A drafted token y is accepted with probability min(1, p(y)/q(y)).
At the first rejection, the next token is drawn from the positive part of p − q. If all drafted
tokens are accepted, one more token is drawn from p.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Verdict(NamedTuple):
    """The number of accepted tokens, and the target's own token after them."""

    accepted: int
    token: int


def accept_greedy(drafted: list[int], logits: Tensor) -> Verdict:
    """Accept drafted tokens up to the first that is not the target's most likely token.

    `logits` has the shape (n + 1, V).
    """
    assert logits.shape[0] == len(drafted) + 1
    best: list[int] = logits.argmax(-1).tolist()
    accepted = next((i for i, token in enumerate(drafted) if token != best[i]), len(drafted))
    return Verdict(accepted, best[accepted])


def probabilities(logits: Tensor, temperature: float) -> Tensor:
    """Return the softmax at a temperature, in float64 on the CPU, (..., V)."""
    return (logits.double().cpu() / temperature).softmax(-1)


def draw(weights: Tensor, uniform: float) -> int:
    """Draw a token from unnormalised weights (V,).

    The token is the inverse of the cumulative sum of the weights at `uniform`, a number in [0, 1).
    """
    sums = weights.cumsum(0)
    index = int(torch.searchsorted(sums, uniform * float(sums[-1]), right=True))
    if index < len(weights) and weights[index] > 0:
        return index
    # rounding can exceed the upper end: take the last token that has any weight
    return int(weights.nonzero()[-1])


def accept_sampled(
    drafted: list[int], draft: Tensor, target: Tensor, uniforms: list[float]
) -> Verdict:
    """Accept or replace drafted tokens so that the output follows the target's distribution.

    Parameters
    ----------
    drafted : list of int
        n tokens; token i was drawn from `draft[i]`.
    draft : Tensor
        Probabilities (n, V).
    target : Tensor
        Probabilities (n + 1, V).
    uniforms : list of float
        n + 1 numbers in [0, 1): one for each drafted token, and one for the token after them.
    """
    assert target.shape[0] == len(drafted) + 1 == len(uniforms)
    for i, token in enumerate(drafted):
        if uniforms[i] * float(draft[i, token]) >= float(target[i, token]):
            return Verdict(i, draw((target[i] - draft[i]).clamp_min(0), uniforms[-1]))
    return Verdict(len(drafted), draw(target[-1], uniforms[-1]))
