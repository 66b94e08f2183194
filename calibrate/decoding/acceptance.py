"""Which drafted tokens the target accepts: the greedy rule, and the rule that keeps its
distribution.

Pure functions of logits or probabilities and uniforms. Sampling is the rule of Leviathan et al.
(arXiv 2211.17192) and Chen et al. (arXiv 2302.01318): a drafted token y stands with probability
min(1, p(y)/q(y)); at the first that falls, the token is drawn from the positive part of p − q; if
none falls, one more from p.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Verdict(NamedTuple):
    """How many drafted tokens stand, and the target's own token after them."""

    accepted: int
    token: int


def accept_greedy(drafted: list[int], logits: Tensor) -> Verdict:
    """Accept while the draft names the target's most likely token; `logits` is (n + 1, V)."""
    assert logits.shape[0] == len(drafted) + 1
    best: list[int] = logits.argmax(-1).tolist()
    accepted = next((i for i, token in enumerate(drafted) if token != best[i]), len(drafted))
    return Verdict(accepted, best[accepted])


def probabilities(logits: Tensor, temperature: float) -> Tensor:
    """Softmax at a temperature, in float64 on the CPU: (..., V)."""
    return (logits.double().cpu() / temperature).softmax(-1)


def draw(weights: Tensor, uniform: float) -> int:
    """A token from unnormalised weights (V,) by inverting their running sum at `uniform` in [0,
    1).
    """
    sums = weights.cumsum(0)
    index = int(torch.searchsorted(sums, uniform * float(sums[-1]), right=True))
    if index < len(weights) and weights[index] > 0:
        return index
    return int(
        weights.nonzero()[-1]
    )  # rounding at the upper end: the last token that has any weight


def accept_sampled(
    drafted: list[int], draft: Tensor, target: Tensor, uniforms: list[float]
) -> Verdict:
    """Accept or replace drafted tokens so that the output follows the target's distribution.

    Parameters
    ----------
    drafted : n tokens, token i drawn from `draft[i]`.
    draft : probabilities (n, V).
    target : probabilities (n + 1, V).
    uniforms : n + 1 numbers in [0, 1): one a drafted token, the last for the token after them.
    """
    assert target.shape[0] == len(drafted) + 1 == len(uniforms)
    for i, token in enumerate(drafted):
        if uniforms[i] * float(draft[i, token]) >= float(target[i, token]):
            return Verdict(i, draw((target[i] - draft[i]).clamp_min(0), uniforms[-1]))
    return Verdict(len(drafted), draw(target[-1], uniforms[-1]))
