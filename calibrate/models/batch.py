"""Several sequences of one model in one pass, as rounds want them, whatever engine runs the model.

A row of the KV memory is a sequence; its position is a number in a tensor, and rolling back is a
smaller number. Knows nothing of drafts.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from lapsd.calibrate.models.cache import buffer_cache, rollback
from lapsd.calibrate.models.engine import Engine, HFEngine
from lapsd.calibrate.models.lean import LeanBatch, LeanEngine


class Batch(Protocol):
    """B sequences of a model."""

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits (B, w, V) after `tokens` (B, w), written from `positions` (B,) on."""
        ...

    def prefill(self, tokens: Tensor) -> None:
        """Write `tokens` (B, w) from slot 0 on; no logits."""
        ...

    def key_values(self) -> Tensor:
        """The KV memory, (layers, 2, B, heads, slots, size)."""
        ...


def batch_of(
    engine: Engine,
    rows: int,
    capacity: int,
    cache: Tensor | None = None,
    places: Tensor | None = None,
) -> Batch:
    """`rows` empty sequences of up to `capacity` tokens of an engine's model, in (the start of)
    `cache` if given.

    `places` are `LeanBatch`'s.
    """
    if isinstance(engine, LeanEngine):
        return LeanBatch(engine, rows, capacity, cache, places=places)
    assert isinstance(engine, HFEngine)
    assert places is None
    return HFBatch(engine, capacity)


class HFBatch:
    """Sequences of any causal LM through its own forward; all rows must be equally long, as read
    from `positions`.
    """

    def __init__(self, engine: HFEngine, capacity: int) -> None:
        self._model, self._vocabulary = engine.model, engine.vocabulary
        self._cache: Cache = buffer_cache(engine.model.config, capacity)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        start = int(positions[0])
        assert bool((positions == start).all()), "rows of different lengths need the lean engine"
        rollback(self._cache, start)
        out: Any = self._model(input_ids=tokens, past_key_values=self._cache, use_cache=True)
        logits: Tensor = out.logits[..., : self._vocabulary]
        return logits

    def prefill(self, tokens: Tensor) -> None:
        rollback(self._cache, 0)
        self._model.base_model(input_ids=tokens, past_key_values=self._cache, use_cache=True)

    def key_values(self) -> Tensor:
        layers = self._cache.layers
        return torch.stack([torch.stack([layer.keys, layer.values]) for layer in layers])
