"""Check by regret that greedy speculative output is the target's own greedy output.

Passes over one token and over many tokens round differently, so outside float64 two nearly equal
logits may swap. One teacher-forced pass over the output decides: the logit of each emitted token
must be within a tolerance of the largest logit. The tolerance is twice the measured difference
between passes of width 1 and width n + 1. A token within the tolerance that is not the argmax
counts as a tie.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lapsd.calibrate.models.engine import Engine, HFEngine
from lapsd.calibrate.models.loading import Pair


@dataclass(frozen=True)
class Regret:
    """The regret of an output.

    Attributes
    ----------
    worst : float
        Largest difference between the maximal logit and the logit of the emitted token.
    tolerance : float
        Largest difference that rounding explains.
    ties : int
        Number of tokens whose logit is below the maximum.
    tokens : int
        Length of the output.
    """

    worst: float
    tolerance: float
    ties: int
    tokens: int

    @property
    def exact(self) -> bool:
        return self.worst <= self.tolerance


def _teacher_forced(engine: Engine, ids: list[int], width: int) -> Tensor:
    """Return the logits after each token, (len(ids), V), computed in passes of `width` tokens.

    The logits are float64, on the CPU.
    """
    model = engine.sequence(len(ids))
    parts = [model.forward(ids[i : i + width]) for i in range(0, len(ids), width)]
    return torch.cat(parts).double().cpu()


@torch.inference_mode()
def greedy_regret(pair: Pair, prompt: list[int], output: list[int], n: int) -> Regret:
    """Return how far `output` is from the target's own greedy choices after `prompt`."""
    ids = [*prompt, *output[:-1]]
    # the reference is the model's own forward pass, whichever engine produced the output
    whole = _teacher_forced(HFEngine(pair.target, pair.vocabulary), ids, len(ids))[
        len(prompt) - 1 :
    ]
    narrow, wide = (
        _teacher_forced(pair.target_engine, ids, width)[len(prompt) - 1 :] for width in (1, n + 1)
    )
    shortfall = whole.max(-1).values - whole.gather(-1, torch.tensor(output)[:, None])[:, 0]
    difference = max(float((a - b).abs().max()) for a, b in ((narrow, wide), (narrow, whole)))
    return Regret(float(shortfall.max()), 2 * difference, int((shortfall > 0).sum()), len(output))
