"""The operators of `lapsd.calibrate.models.operators` as Triton kernels.

Each operator is one launch, except attention, which is two. Sums are computed in float32 for all
types. The plain versions define shapes and results.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from lapsd.calibrate.models.operators import Operators, norm

__all__ = ["KERNELS"]
KEYS = 64  # keys that a program reads at once
QUERIES = 64  # most queries of one program
LANES = 1_024  # elements of one program of an elementwise kernel


def rotate_and_store(
    qkv: Tensor,
    cos: Tensor,
    signed_sin: Tensor,
    positions: Tensor,
    cache: Tensor,
    places: Tensor | None = None,
) -> None:
    rows, width, heads, size = qkv.shape
    kv_heads = cache.shape[2]
    assert qkv.is_contiguous()
    assert cache.stride(4) == 1
    _rotate_and_store[(rows * width, heads)](
        qkv,
        cos,
        signed_sin,
        positions,
        places,
        cache,
        width,
        heads - 2 * kv_heads,
        kv_heads,
        *cache.stride()[:4],
        SIZE=size,
        BLOCK=triton.next_power_of_2(size // 2),
        num_warps=1,
    )


@triton.jit
def _rotate_and_store(
    qkv,
    cos,
    signed_sin,
    positions,
    places,
    cache,
    width,
    heads,
    kv_heads,
    by_kind,
    by_row,
    by_head,
    by_slot,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program rotates and stores one head of one token.

    A thread holds an element and its partner, so no other thread reads what it writes.
    """
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row = token // width
    slot = tl.load(positions + row) + token % width
    lane = tl.arange(0, BLOCK)
    inside = lane < SIZE // 2
    source = qkv + (token * (heads + 2 * kv_heads) + head) * SIZE + lane
    low = tl.load(source, inside, 0.0).to(tl.float32)
    high = tl.load(source + SIZE // 2, inside, 0.0).to(tl.float32)
    if head < heads + kv_heads:
        c, s = cos + slot * SIZE + lane, signed_sin + slot * SIZE + lane
        turned = low * tl.load(c, inside, 0.0).to(tl.float32) + high * tl.load(s, inside, 0.0).to(
            tl.float32
        )
        high = high * tl.load(c + SIZE // 2, inside, 0.0).to(tl.float32) + low * tl.load(
            s + SIZE // 2, inside, 0.0
        ).to(tl.float32)
        low = turned
    target = source
    if head >= heads:
        kind, own = (head - heads) // kv_heads, (head - heads) % kv_heads
        place = row if places is None else tl.load(places + row)
        target = cache + kind * by_kind + place * by_row + own * by_head + slot * by_slot + lane
    tl.store(target, low.to(qkv.dtype.element_ty), inside)
    tl.store(target + SIZE // 2, high.to(qkv.dtype.element_ty), inside)


def attend(
    qkv: Tensor, cache: Tensor, positions: Tensor, splits: int, places: Tensor | None = None
) -> Tensor:
    rows, width, heads, size = qkv.shape
    kv_heads = cache.shape[2]
    heads -= 2 * kv_heads
    group = heads // kv_heads
    assert qkv.is_contiguous()
    assert cache.stride(4) == 1
    parts = triton.next_power_of_2(splits)
    queries = width * group
    tile = min(
        QUERIES, max(16, triton.next_power_of_2(queries))
    )  # matrix units need at least 16 rows
    block = max(16, triton.next_power_of_2(size))
    mixed = torch.empty(
        rows, kv_heads, parts, queries, size, dtype=torch.float32, device=qkv.device
    )
    weight = torch.empty(rows, kv_heads, parts, queries, dtype=torch.float32, device=qkv.device)
    _attend_to_part[(rows, kv_heads, parts * triton.cdiv(queries, tile))](
        qkv,
        cache,
        positions,
        places,
        mixed,
        weight,
        width,
        kv_heads,
        *cache.stride()[:4],
        size**-0.5 * 1.4426950408889634,
        parts,
        GROUP=group,
        SIZE=size,
        TILE=tile,
        KEYS=KEYS,
        BLOCK=block,
        num_warps=4,
        num_stages=2,
    )
    merged = torch.empty(rows, width, heads * size, dtype=qkv.dtype, device=qkv.device)
    _merge_parts[(rows * width, heads)](
        mixed,
        weight,
        merged,
        width,
        kv_heads,
        GROUP=group,
        SIZE=size,
        PARTS=parts,
        BLOCK=block,
        num_warps=1,
    )
    return merged


@triton.jit
def _attend_to_part(
    qkv,
    cache,
    positions,
    places,
    mixed,
    weight,
    width,
    kv_heads,
    by_kind,
    by_row,
    by_head,
    by_slot,
    scale,
    parts,
    GROUP: tl.constexpr,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
    KEYS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program computes the attention of some queries of one row and key head to one part.

    A part is a range of the keys. The results are the weighted mean of the part's values, and the
    log2 of the sum of their weights.
    """
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    part, tile = tl.program_id(2) % parts, tl.program_id(2) // parts
    position = tl.load(positions + row).to(tl.int32)
    length = position + width
    each = tl.cdiv(tl.cdiv(length, KEYS), parts) * KEYS
    begin = part * each
    end = tl.minimum(begin + each, length)

    query = tile * TILE + tl.arange(0, TILE)  # the G heads of a token are neighbours
    lane = tl.arange(0, BLOCK)
    token, within = query // GROUP, query % GROUP
    real = query < width * GROUP
    some = lane < SIZE
    heads = kv_heads * GROUP
    source = (
        qkv
        + ((row * width + token) * (heads + 2 * kv_heads) + head * GROUP + within)[:, None] * SIZE
    )
    q = tl.load(source + lane[None, :], real[:, None] & some[None, :], 0.0)

    top = tl.full([TILE], float("-inf"), tl.float32)
    total = tl.zeros([TILE], tl.float32)
    sums = tl.zeros([TILE, BLOCK], tl.float32)
    place_of_row = row if places is None else tl.load(places + row)
    keys = cache + place_of_row * by_row + head * by_head
    values = keys + by_kind
    for first in range(begin, end, KEYS):
        slot = first + tl.arange(0, KEYS)
        there = slot < end
        place = slot.to(tl.int64) * by_slot
        k = tl.load(keys + place[None, :] + lane[:, None], there[None, :] & some[:, None], 0.0)
        logits = tl.dot(q, k, input_precision="ieee") * scale
        logits = tl.where(
            there[None, :] & (slot[None, :] <= position + token[:, None]), logits, float("-inf")
        )
        peak = tl.maximum(top, tl.max(logits, 1))
        base = tl.where(peak == float("-inf"), 0.0, peak)  # a query that has no allowed key so far
        weights = tl.exp2(logits - base[:, None])
        fade = tl.exp2(top - base)
        v = tl.load(values + place[:, None] + lane[None, :], there[:, None] & some[None, :], 0.0)
        sums = sums * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        total = total * fade + tl.sum(weights, 1)
        top = peak
    out = ((row * kv_heads + head) * parts + part) * (width * GROUP) + query
    seen = total > 0  # an empty part has weight 0
    total = tl.where(seen, total, 1.0)
    tl.store(
        mixed + out[:, None] * SIZE + lane[None, :],
        sums / total[:, None],
        real[:, None] & some[None, :],
    )
    tl.store(weight + out, tl.where(seen, top + tl.log2(total), float("-inf")), real)


@triton.jit
def _merge_parts(
    mixed,
    weight,
    merged,
    width,
    kv_heads,
    GROUP: tl.constexpr,
    SIZE: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program merges the parts of one head of one token, in proportion to their weights."""
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, query = token // width, token % width * GROUP + head % GROUP
    lane, part = tl.arange(0, BLOCK), tl.arange(0, PARTS)
    some = lane < SIZE
    source = ((row * kv_heads + head // GROUP) * PARTS + part) * (width * GROUP) + query
    log = tl.load(weight + source)
    share = tl.exp2(log - tl.max(log, 0))
    share = share / tl.sum(share, 0)
    sums = tl.load(mixed + source[:, None] * SIZE + lane[None, :], some[None, :], 0.0)
    whole = tl.sum(sums * share[:, None], 0)
    target = merged + (token * kv_heads * GROUP + head) * SIZE + lane
    tl.store(target, whole.to(merged.dtype.element_ty), some)


def silu_multiply(gate_up: Tensor) -> Tensor:
    inner = gate_up.shape[-1] // 2
    assert gate_up.is_contiguous()
    out = torch.empty(*gate_up.shape[:-1], inner, dtype=gate_up.dtype, device=gate_up.device)
    _silu_multiply[(gate_up.numel() // (2 * inner), triton.cdiv(inner, LANES))](
        gate_up, out, inner, BLOCK=LANES
    )
    return out


@triton.jit
def _silu_multiply(gate_up, out, inner, BLOCK: tl.constexpr):
    token, lane = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < inner
    gate = tl.load(gate_up + token * 2 * inner + lane, inside, 0.0).to(tl.float32)
    up = tl.load(gate_up + token * 2 * inner + inner + lane, inside, 0.0).to(tl.float32)
    tl.store(
        out + token * inner + lane, (gate * tl.sigmoid(gate) * up).to(out.dtype.element_ty), inside
    )


# torch's norm is already one kernel on a GPU
KERNELS = Operators(
    f"triton {triton.__version__}", norm, silu_multiply, rotate_and_store, attend, waits=False
)
