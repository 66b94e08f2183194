"""The four operators between the matrix products of a pass, in plain torch.

On a GPU, Triton kernels replace them (`lapsd.calibrate.models.triton_kernels`). The kernels read
the length of a row on the device, from a tensor of positions. Hence they need no mask, read nothing
past the length of a row, and one captured graph serves all contexts. The plain versions define the
results. They read positions on the host, which costs nothing on the CPU, but excludes them from
graphs on a GPU. This module knows nothing about layers or weights.

Shapes: B rows of w new tokens; H query heads in groups of G that share one of K heads of keys and
values; D the size of a head; C slots of a cache. The rows of a cache are the rows of the batch,
unless `places` (B,) gives the row of the cache for each row of the batch.
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
        # transformers' norm computes in float32 for all types, and the logits must be the same
        low = x.float()
        return weight * (low * torch.rsqrt(low.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype)
    if x.device.type == "cpu" and x.dtype == torch.float32:
        # torch's norm consists of many small operations here; for a few rows this is twice as fast
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * (length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()) * weight
    return functional.rms_norm(x, x.shape[-1:], weight, epsilon)


def silu_multiply(gate_up: Tensor) -> Tensor:
    """Return silu(gate) · up, (..., I), of `gate_up` (..., 2I), which holds gate first."""
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
    """Apply the rotary position embedding, and write new keys and values into the cache.

    Parameters
    ----------
    qkv : Tensor
        (B, w, H + 2K, D), contiguous. Its queries are rotated in place; its keys are undefined
        afterwards.
    cos, signed_sin : Tensor
        (positions, D). The first half of `signed_sin` is -sin.
    positions : Tensor
        (B,), int64: slot of the first new token of each row.
    cache : Tensor
        (2, B, K, C, D), keys first; with `places` it may have more rows.
    places : Tensor, optional
        (B,): row of the cache for each row of the batch.
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
    """Return the causal attention of w new tokens, (B, w, H·D).

    Keys and values of the new tokens must be in the cache already.

    Parameters
    ----------
    qkv : Tensor
        (B, w, H + 2K, D); only its queries are read.
    cache, positions, places : Tensor
        As in `rotate_and_store`.
    splits : int
        Number of parts into which a kernel splits the keys of each row, so that a few rows keep a
        GPU busy. It has no effect in this version.
    """
    rows, width, heads, size = qkv.shape
    kv_heads = cache.shape[2]
    heads -= 2 * kv_heads
    groups, scale = heads // kv_heads, 1 / math.sqrt(size)
    parts = []
    for some, held, start in _runs(positions, places):
        # heads that share keys become rows of one product, so that no key is copied
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
    """Return the causal attention of rows that start at slot 0, such as prompts, (B, w, H·D).

    `cache` (2, B, K, w, D) holds the keys and values of the same w tokens. Torch has kernels for
    this case.
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
    """Group neighbouring rows that have the same position and are also neighbours in the cache.

    Returns (rows of the batch, rows of the cache, position) for each group.
    """
    starts = positions.tolist()
    if places is None and len(set(starts)) == 1:
        return [(slice(None), slice(None), starts[0])]
    kept = range(len(starts)) if places is None else places.tolist()
    runs = []
    # neighbours in both have the same difference between their rows of the cache and of the batch
    for (start, off), rows in groupby(
        enumerate(kept), lambda row: (starts[row[0]], row[1] - row[0])
    ):
        group = [row for row, _ in rows]
        first, end = group[0], group[-1] + 1
        runs.append((slice(first, end), slice(first + off, end + off), start))
    return runs


@lru_cache(maxsize=8)  # a pass asks for the same mask in every layer
def _allowed(width: int, start: int, groups: int, device: torch.device) -> Tensor | None:
    """Return the mask of keys for each query, (G·w, start + w); None if all keys are allowed."""
    if width == 1:
        return None
    return (
        torch.ones(width, start + width, dtype=torch.bool, device=device)
        .tril(start)
        .repeat(groups, 1)
    )


@dataclass(frozen=True)
class Operators:
    """An implementation of the four operators.

    Attributes
    ----------
    name : str
        Name of the implementation, with the reason for its choice; it is written into results.
    norm, silu_multiply, rotate_and_store, attend : callable
    waits : bool
        Whether they read positions on the host, so that they cannot be captured.
    programs : int
        Number of programs of the attention kernel that keep the device busy; 0 if splitting the
        keys has no advantage.
    """

    name: str
    norm: Callable[[Tensor, Tensor, float], Tensor]
    silu_multiply: Callable[[Tensor], Tensor]
    rotate_and_store: Callable[..., None]
    attend: Callable[..., Tensor]
    waits: bool
    programs: int = 0

    def splits(self, rows: int, kv_heads: int, capacity: int) -> int:
        """Return the number of parts into which attention splits the keys of each row.

        It is a power of two, large enough to keep the device busy where possible.
        """
        splits = 1
        while splits * rows * kv_heads < self.programs and 2 * splits <= min(
            MOST_SPLITS, capacity // LEAST_KEYS
        ):
            splits *= 2
        return splits


PLAIN = Operators("plain", norm, silu_multiply, rotate_and_store, attend, waits=True)
