"""The four operators between a pass's matrix products, each as ordinary torch and, on a GPU, as one
Triton kernel.

A row's length is read where the work is done, from a tensor of positions: no mask is made, nothing
past a row's length is read, and one captured graph serves every context. The plain versions define
what is computed; they look at positions on the host, which costs nothing on the CPU and keeps them
out of graphs on a GPU. Knows nothing of layers or weights.

Shapes: B rows of w new tokens; H query heads in groups of G that share one of K heads of keys and
values; D a head's size; C slots of a cache, whose rows are those of the batch, or, where `places`
(B,) says which, any.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

MOST_SPLITS, LEAST_KEYS = 32, 64


def norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm over the last dimension."""
    if x.dtype == torch.float64:
        # transformers' own norm works in float32 whatever the model's type: we must give the very
        # same logits
        low = x.float()
        return weight * (low * torch.rsqrt(low.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype)
    if x.device.type == "cpu" and x.dtype == torch.float32:
        # the library's norm is many small operations here; a few rows take half the time like this
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * (length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()) * weight
    return functional.rms_norm(x, x.shape[-1:], weight, epsilon)


def silu_multiply(gate_up: Tensor) -> Tensor:
    """silu(gate) · up of (..., 2I), gate first: (..., I)."""
    gate, up = gate_up.chunk(2, dim=-1)
    return functional.silu(gate) * up


def rotate_and_store(
    qkv: Tensor,
    cos: Tensor,
    signed_sin: Tensor,
    positions: Tensor,
    cache: Tensor,
    places: Tensor | None = None,
) -> None:
    """Rotary position embedding of queries and keys, and new keys and values into the cache.

    Parameters
    ----------
    qkv : (B, w, H + 2K, D), contiguous; the queries in it are rotated in place, its keys are
        undefined afterwards.
    cos, signed_sin : (positions, D); the first half of `signed_sin` is -sin.
    positions : (B,), int64: the slot of each row's first new token.
    cache : (2, B, K, C, D), keys first; with `places`, of more rows.
    """
    heads, width = cache.shape[2], qkv.shape[1]
    for rows, held, start in _runs(positions, places):
        new = slice(start, start + width)
        rotated = qkv[rows, :, :-heads]
        swapped = rotated.roll(rotated.shape[-1] // 2, -1)
        rotated.mul_(cos[new, None]).addcmul_(swapped, signed_sin[new, None])
        cache[0, held, :, new] = rotated[:, :, -heads:].transpose(1, 2)
        cache[1, held, :, new] = qkv[rows, :, -heads:].transpose(1, 2)


def attend(
    qkv: Tensor, cache: Tensor, positions: Tensor, splits: int, places: Tensor | None = None
) -> Tensor:
    """Attention of w new tokens, which are in the cache already, to what each may see: (B, w, H·D).

    Parameters
    ----------
    qkv : (B, w, H + 2K, D); its queries are read.
    cache, positions, places : as in `rotate_and_store`.
    splits : parts into which a kernel cuts each row's keys, so that few rows fill a GPU; nothing
    here.
    """
    rows, width, heads, size = qkv.shape
    kv_heads = cache.shape[2]
    heads -= 2 * kv_heads
    groups, scale = heads // kv_heads, 1 / math.sqrt(size)
    parts = []
    for some, held, start in _runs(positions, places):
        # the heads that share keys become rows of one product: no key is copied
        queries = (
            qkv[some, :, :heads].reshape(-1, width, kv_heads, groups, size).permute(0, 2, 3, 1, 4)
        )
        keys, values = cache[:, held, :, : start + width]
        mixed = functional.scaled_dot_product_attention(
            queries.reshape(-1, kv_heads, groups * width, size),
            keys,
            values,
            attn_mask=_allowed(width, start, groups, qkv.device),
            scale=scale,
        )
        parts.append(mixed.view(-1, kv_heads, groups, width, size).permute(0, 3, 1, 2, 4))
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    return whole.reshape(rows, width, heads * size)


def attend_from_start(qkv: Tensor, cache: Tensor) -> Tensor:
    """Causal attention of rows that start at slot 0 to their own w tokens, in `cache` (2, B, K, w,
    D): (B, w, H·D).

    A prompt's: the library has kernels for it.
    """
    rows, width, heads, size = qkv.shape
    kv_heads = cache.shape[2]
    heads -= 2 * kv_heads
    mixed = functional.scaled_dot_product_attention(
        qkv[:, :, :heads].transpose(1, 2),
        cache[0],
        cache[1],
        is_causal=True,
        enable_gqa=heads > kv_heads,
    )
    return mixed.transpose(1, 2).reshape(rows, width, heads * size)


def _runs(positions: Tensor, places: Tensor | None) -> list[tuple[slice, slice, int]]:
    """Neighbouring rows of the same position, here and in the cache, and that position."""
    starts = positions.tolist()
    if places is None and len(set(starts)) == 1:
        return [(slice(None), slice(None), starts[0])]
    kept = range(len(starts)) if places is None else places.tolist()
    runs = []
    # neighbours of the cache are as far from it as from here
    for (start, off), rows in groupby(
        enumerate(kept), lambda row: (starts[row[0]], row[1] - row[0])
    ):
        those = [row for row, _ in rows]
        first, end = those[0], those[-1] + 1
        runs.append((slice(first, end), slice(first + off, end + off), start))
    return runs


@lru_cache(maxsize=8)  # a pass asks for the same mask in every layer
def _allowed(width: int, start: int, groups: int, device: torch.device) -> Tensor | None:
    """What each query may attend to, (G·w, start + w); None where it may attend to all."""
    if width == 1:
        return None
    return (
        torch.ones(width, start + width, dtype=torch.bool, device=device)
        .tril(start)
        .repeat(groups, 1)
    )


@dataclass(frozen=True)
class Operators:
    """The four operators.

    Attributes
    ----------
    name : who computes them, and why, for the record
    waits : whether they look at positions on the host, and so cannot be captured
    programs : how many of attention keep the device busy; 0: cutting keys into parts gains nothing
    """

    name: str
    norm: Callable[[Tensor, Tensor, float], Tensor]
    silu_multiply: Callable[[Tensor], Tensor]
    rotate_and_store: Callable[..., None]
    attend: Callable[..., Tensor]
    waits: bool
    programs: int = 0

    def splits(self, rows: int, kv_heads: int, capacity: int) -> int:
        """Into how many parts attention cuts each row's keys so that enough programs run: a power
        of two.
        """
        splits = 1
        while splits * rows * kv_heads < self.programs and 2 * splits <= min(
            MOST_SPLITS, capacity // LEAST_KEYS
        ):
            splits *= 2
        return splits


PLAIN = Operators("plain", norm, silu_multiply, rotate_and_store, attend, waits=True)
