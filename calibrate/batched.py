"""Several sequences of one model in one pass, on the device throughout: what batches and CUDA graphs need.

A row of the KV buffer is a sequence; its position is a number in a tensor, so the same operations run whatever the
positions are, and rolling back is a smaller number. A pass attends to the first `bucket` slots of every row and masks
what lies past each row's position. Nothing here reads a value back to the host. Knows nothing of drafts.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache

from calibrate.cache import buffer_cache, rollback
from calibrate.engine import Engine, HFEngine
from calibrate.lean import LeanEngine, norm, rotate_


class Batch(Protocol):
    """B sequences of a model."""

    def forward(self, tokens: Tensor, positions: Tensor, bucket: int) -> Tensor:
        """Logits (B, w, V) after `tokens` (B, w), written from `positions` (B,) on; `bucket` >= positions + w."""
        ...

    def prefill(self, tokens: Tensor) -> None:
        """Write `tokens` (B, w) from slot 0 on; no logits."""
        ...

    def key_values(self) -> Tensor:
        """The KV buffer, (layers, 2, B, heads, capacity, size)."""
        ...


def batch_of(engine: Engine, rows: int, capacity: int, buffer: Tensor | None = None) -> Batch:
    """`rows` empty sequences of up to `capacity` tokens of an engine's model, in (the start of) `buffer` if given."""
    if isinstance(engine, LeanEngine):
        return LeanBatch(engine, rows, capacity, buffer=buffer)
    assert isinstance(engine, HFEngine)
    return HFBatch(engine, rows, capacity)


def new_buffer(engine: LeanEngine, rows: int, capacity: int) -> Tensor:
    """Keys and values of all layers, (layers, 2, rows, kv heads, capacity, size)."""
    shape = (len(engine.layers), 2, rows, engine.kv_heads, capacity, engine.size)
    # zeros: masked slots are multiplied by 0, which only finite values survive
    return torch.zeros(shape, dtype=engine.embedding.dtype, device=engine.embedding.device)


class LeanBatch:
    """Sequences of a LLaMA-like model. Shapes: G heads share keys, D is a head's size, L the bucket.

    Parameters
    ----------
    splits : parts that the keys are cut into, attended to apart and merged by their log-sum-exp (split-KV): more
        blocks to run at once where a batch of few rows leaves a GPU idle. The bucket must be a multiple of it.
    """

    def __init__(
        self, engine: LeanEngine, rows: int, capacity: int, splits: int = 1, buffer: Tensor | None = None
    ) -> None:
        self._engine, self.splits = engine, splits
        buffer = new_buffer(engine, rows, capacity) if buffer is None else buffer
        self.buffer = buffer[:, :, :rows, :, :capacity]
        self._row = torch.arange(rows, device=engine.embedding.device)[:, None]

    def forward(self, tokens: Tensor, positions: Tensor, bucket: int) -> Tensor:
        slots = positions[:, None] + torch.arange(tokens.shape[1], device=tokens.device)  # (B, w)
        mask = self._mask(slots, bucket)
        x = self._layers(tokens, slots, lambda queries, cache: self._attend(queries, cache[:, :, :, :bucket], mask))
        return self._engine.head(norm(x, self._engine.norm, self._engine.epsilon)).view(*tokens.shape, -1)

    def prefill(self, tokens: Tensor) -> None:
        """Write `tokens` (B, w) from slot 0 on; no logits."""
        rows, width = tokens.shape
        slots = torch.arange(width, device=tokens.device).expand(rows, -1)
        self._layers(tokens, slots, lambda queries, cache: _attend_causally(queries, cache[:, :, :, :width]))

    def _layers(self, tokens: Tensor, slots: Tensor, attend: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The last layer's output (B·w, H), with keys and values written to `slots` (B, w)."""
        engine, (rows, width) = self._engine, tokens.shape
        cos, signed_sin = (t[slots].view(rows * width, 1, engine.size) for t in (engine.cos, engine.signed_sin))
        x = functional.embedding(tokens, engine.embedding).view(rows * width, -1)
        for layer, cache in zip(engine.layers, self.buffer, strict=True):
            qkv = layer.qkv(norm(x, layer.norm_1, engine.epsilon)).view(rows * width, -1, engine.size)
            rotate_(qkv[:, : engine.heads + engine.kv_heads], cos, signed_sin)
            new = qkv[:, engine.heads :].view(rows, width, 2, engine.kv_heads, engine.size)
            cache[:, self._row, :, slots] = new
            queries = qkv[:, : engine.heads].view(rows, width, engine.kv_heads, -1, engine.size)
            x = layer.out(attend(queries, cache), x)
            gate, up = layer.gate_up(norm(x, layer.norm_2, engine.epsilon)).chunk(2, dim=-1)
            x = layer.down(functional.silu(gate) * up, x)
        return x

    def _mask(self, slots: Tensor, bucket: int) -> Tensor:
        """What each query row must not attend to, as a large negative number: (B, G·w, L), G outermost."""
        engine = self._engine
        dtype = engine.embedding.dtype
        past = torch.arange(bucket, device=slots.device) > slots[..., None]  # (B, w, L)
        mask = torch.zeros(past.shape, dtype=dtype, device=slots.device).masked_fill_(
            past, torch.finfo(dtype).min / 2
        )
        return mask.repeat(1, engine.heads // engine.kv_heads, 1)

    def _attend(self, queries: Tensor, cache: Tensor, mask: Tensor) -> Tensor:
        """(B, w, kv heads, G, D) over keys and values (2, B, kv heads, L, D): (B·w, heads·D)."""
        rows, width, kv_heads, groups, size = queries.shape
        # the heads that share keys become rows of one product: no key is copied
        grouped = queries.permute(0, 2, 3, 1, 4).reshape(rows, kv_heads, groups * width, size)
        scale = 1 / math.sqrt(size)
        if self.splits == 1:
            mixed = functional.scaled_dot_product_attention(
                grouped, cache[0], cache[1], attn_mask=mask[:, None], scale=scale
            )
        else:
            mixed = split_attention(grouped, cache, mask, scale, self.splits)
        back = mixed.view(rows, kv_heads, groups, width, size).permute(0, 3, 1, 2, 4)
        return back.reshape(rows * width, kv_heads * groups * size)

    def key_values(self) -> Tensor:
        return self.buffer


def _attend_causally(queries: Tensor, cache: Tensor) -> Tensor:
    """(B, w, kv heads, G, D) over the same tokens' keys and values (2, B, kv heads, w, D): (B·w, heads·D)."""
    rows, width, kv_heads, groups, size = queries.shape
    mixed = functional.scaled_dot_product_attention(
        queries.flatten(2, 3).transpose(1, 2), cache[0], cache[1], is_causal=True, enable_gqa=groups > 1
    )
    return mixed.transpose(1, 2).reshape(rows * width, kv_heads * groups * size)


def split_attention(queries: Tensor, cache: Tensor, mask: Tensor, scale: float, splits: int) -> Tensor:
    """Attention over the keys in `splits` parts, merged exactly. (B, H, r, D) over (2, B, H, L, D), mask (B, r, L).

    The parts stand where heads usually do, so a batch-1 pass of few heads still fills a GPU.
    """
    rows, heads, width, size = queries.shape
    length = cache.shape[3]
    keys, values = (t.unflatten(2, (splits, length // splits)).flatten(0, 1) for t in cache)  # (B·H, S, L/S, D)
    query = queries.flatten(0, 1)[:, None].expand(-1, splits, -1, -1)
    parts = mask.unflatten(2, (splits, length // splits)).transpose(1, 2)  # (B, S, r, L/S)
    bias = parts[:, None].expand(-1, heads, -1, -1, -1).flatten(0, 1)
    mixed, weight = _attention_and_lse(query, keys, values, bias, scale)
    share = weight.softmax(dim=1)[..., None]  # how much of all the attention fell into each part
    return (mixed * share).sum(1).to(queries.dtype).view(rows, heads, width, size)


def _attention_and_lse(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention and the log of each row's sum of weights, by the library's own kernels."""
    aten = torch.ops.aten
    if query.device.type == "cpu":
        return aten._scaled_dot_product_flash_attention_for_cpu(query, keys, values, attn_mask=bias, scale=scale)[:2]
    mixed, lse = aten._scaled_dot_product_efficient_attention(query, keys, values, bias, True, scale=scale)[:2]
    return mixed, lse[:, :, : query.shape[2]]


class HFBatch:
    """Sequences of any causal LM through its own forward; all rows must be equally long, as read from `positions`."""

    def __init__(self, engine: HFEngine, rows: int, capacity: int) -> None:
        self._model, self._vocabulary = engine.model, engine.vocabulary
        self._cache: Cache = buffer_cache(engine.model.config, capacity)

    def forward(self, tokens: Tensor, positions: Tensor, bucket: int) -> Tensor:
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
