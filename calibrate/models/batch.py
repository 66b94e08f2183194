"""Several sequences of one model in one pass, with the same interface for all engines.

Each sequence is a row of the KV memory. Its position is a number in a tensor, and a rollback sets a
smaller number. This module knows nothing about drafts.
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
        """Append `tokens` (B, w) at `positions` (B,), and return their logits (B, w, V)."""
        ...

    def prefill(self, tokens: Tensor) -> None:
        """Write `tokens` (B, w) from slot 0 on, without computing logits."""
        ...

    def key_values(self) -> Tensor:
        """Return the KV memory, (layers, 2, B, heads, slots, size)."""
        ...


def batch_of(
    engine: Engine,
    rows: int,
    capacity: int,
    cache: Tensor | None = None,
    places: Tensor | None = None,
) -> Batch:
    """Return `rows` empty sequences of up to `capacity` tokens of an engine's model.

    `cache` and `places` have the same meaning as in `LeanBatch`; other engines allocate their own
    memory.
    """
    if isinstance(engine, LeanEngine):
        return LeanBatch(engine, rows, capacity, cache, places=places)
    assert isinstance(engine, HFEngine)
    assert places is None
    return HFBatch(engine, capacity)


class HFBatch:
    """Sequences of any causal language model, run by its own forward pass.

    All rows must have the same position.
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
