"""Columns that allow a replay of a trace at any draft length.

They say for each output position whether a draft token there would have been accepted. They come
from one teacher-forced pass of each model over the finished output. `lapsd.traces.derived.replay`
explains why that is enough.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lapsd.calibrate.decoding.acceptance import probabilities
from lapsd.calibrate.models.loading import Pair

CHUNK = 128  # positions whose full distributions are in memory at the same time


class Replayable(NamedTuple):
    """Columns of one request, with one value per output position.

    Attributes
    ----------
    acceptable : list of int
        Number of greedy draft tokens in a row that are accepted from this position on.
    accept_prob : list of float
        Probability that a draft token at this position is accepted.
    draft_prob : list of float
        The largest probability of the draft model's distribution at this position, which is that of
        its proposal in greedy decoding: what an engine knows before the verification. Of the
        sampled distribution; in greedy decoding at temperature 1.
    """

    acceptable: list[int]
    accept_prob: list[float]
    draft_prob: list[float]


@torch.inference_mode()
def replayable(pair: Pair, prompt: list[int], output: list[int], temperature: float) -> Replayable:
    """Return the columns of one request, which was decoded at `temperature` (0: greedily).

    Raises
    ------
    ValueError
        If a model's logits are not finite. The message names the model.
    """
    ids, first = [*prompt, *output[:-1]], len(prompt) - 1
    draft = pair.draft_engine.sequence(len(ids)).forward(ids)[first:]
    target = pair.target_engine.sequence(len(ids)).forward(ids)[first:]
    for logits, name in ((draft, pair.draft_name), (target, pair.target_name)):
        if not bool(torch.isfinite(logits).all()):
            raise ValueError(
                f"model {name}: its logits are not finite in {pair.dtype} (try another --dtype)"
            )
    agree = (draft.argmax(-1).cpu() == torch.tensor(output)).tolist()
    acceptable, run = [0] * len(output), 0
    for position in reversed(range(len(output))):
        run = run + 1 if agree[position] else 0
        acceptable[position] = run
    chunks = range(0, len(output), CHUNK)
    largest = [
        probabilities(draft[i : i + CHUNK], temperature or 1.0).amax(-1).float().cpu()
        for i in chunks
    ]
    draft_prob = torch.cat(largest).clamp_max(1.0).tolist()
    if not temperature:
        return Replayable(acceptable, [float(a) for a in agree], draft_prob)
    parts = [
        _probability(
            draft[i : i + CHUNK], target[i : i + CHUNK], output[i : i + CHUNK], temperature
        )
        for i in chunks
    ]
    return Replayable(acceptable, torch.cat(parts).tolist(), draft_prob)


def _probability(draft: Tensor, target: Tensor, output: list[int], temperature: float) -> Tensor:
    """Return min(1, q(y) / p(y)) at each position, (positions,)."""
    tokens = torch.tensor(output)[:, None]
    q, p = (
        probabilities(logits, temperature).gather(-1, tokens)[:, 0] for logits in (draft, target)
    )
    return (q / p.clamp_min(torch.finfo(p.dtype).tiny)).clamp_max(1.0)
