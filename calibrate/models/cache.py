"""A KV cache with one preallocated buffer per layer, which rolls back by position.

The growing cache of transformers copies its whole content for each token, and how it is cropped
differs between versions. Here a layer is a buffer and a length: appending writes in place, and a
rollback sets a smaller length.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer


class BufferLayer(DynamicLayer):
    """Keys and values of one layer, in buffers of `capacity` tokens.

    `keys` and `values` are views of the beginning of the buffers.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self._buffers = [
            t.new_empty((*t.shape[:2], self._capacity, t.shape[3]))
            for t in (key_states, value_states)
        ]
        self.is_initialized = True
        self.rollback(0)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        assert end <= self._capacity, f"{end} tokens in a KV cache of {self._capacity}"
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = states
        self.rollback(end)
        return self.keys, self.values

    def rollback(self, length: int) -> None:
        """Keep the first `length` tokens."""
        if self.is_initialized:
            self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def buffer_cache(config: Any, capacity: int) -> Cache:
    """Return an empty cache of up to `capacity` tokens for a model of `config`."""
    return Cache(layers=[BufferLayer(capacity) for _ in range(config.num_hidden_layers)])


def rollback(cache: Cache, length: int) -> None:
    """Keep the first `length` tokens in every layer."""
    for layer in cache.layers:
        layer.rollback(length)


def unsupported_layers(config: Any) -> list[str]:
    """Return the names of cache layers of a model that cannot be rolled back.

    These are all layers that do not keep the keys and values of all tokens. A sliding window as
    long as the context keeps all tokens.
    """
    with torch.device("meta"):
        layers = DynamicCache(config=config).layers
    window = getattr(config, "sliding_window", None) or 0
    covers = window >= getattr(config, "max_position_embeddings", 2**62)
    kept = {DynamicLayer, DynamicSlidingWindowLayer} if covers else {DynamicLayer}
    return sorted({type(layer).__name__ for layer in layers if type(layer) not in kept})


def kv_bytes_per_token(model: Any) -> int:
    """Return the bytes of the keys and values of one token, in all layers of a model."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(
        2 * config.num_hidden_layers * heads * size * next(model.parameters()).element_size()
    )
