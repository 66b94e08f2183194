"""Is greedy speculative output the target's own greedy output? Checked by regret.

One-token and many-token passes round differently, so outside float64 two nearly equal logits may
swap. One teacher-forced pass over the emitted sequence tells: each token's logit must be within a
tolerance of the largest, the tolerance being twice the measured difference between passes of width
1 and width n + 1. Tokens that are not the argmax but within it are counted as ties.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lapsd.calibrate.models.engine import Engine, HFEngine
from lapsd.calibrate.models.loading import Pair


@dataclass(frozen=True)
class Regret:
    """`worst`: largest shortfall of an emitted token's logit; `ties`: tokens short of the maximum
    at all.
    """

    worst: float
    tolerance: float
    ties: int
    tokens: int

    @property
    def exact(self) -> bool:
        return self.worst <= self.tolerance


def _teacher_forced(engine: Engine, ids: list[int], width: int) -> Tensor:
    """Logits after each token, (len(ids), V), computed in passes of `width` tokens; float64 on the
    CPU.
    """
    model = engine.sequence(len(ids))
    parts = [model.forward(ids[i : i + width]) for i in range(0, len(ids), width)]
    return torch.cat(parts).double().cpu()


@torch.inference_mode()
def greedy_regret(pair: Pair, prompt: list[int], output: list[int], n: int) -> Regret:
    """How far `output` is from the target's own greedy choice after `prompt`, position by
    position.
    """
    ids = [*prompt, *output[:-1]]
    # the judge is the model's own forward, whatever engine wrote the output
    whole = _teacher_forced(HFEngine(pair.target, pair.vocabulary), ids, len(ids))[
        len(prompt) - 1 :
    ]
    narrow, wide = (
        _teacher_forced(pair.target_engine, ids, width)[len(prompt) - 1 :] for width in (1, n + 1)
    )
    shortfall = whole.max(-1).values - whole.gather(-1, torch.tensor(output)[:, None])[:, 0]
    difference = max(float((a - b).abs().max()) for a, b in ((narrow, wide), (narrow, whole)))
    return Regret(float(shortfall.max()), 2 * difference, int((shortfall > 0).sum()), len(output))
