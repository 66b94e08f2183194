"""Timings outside rounds: verify passes of other widths, prefills, and moves of a request's KV cache.

Each is repeated and interleaved over sizes, so that a slow spell of the machine falls on all alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrate.decode import Decoder, Sampling, clock
from calibrate.models import Pair

REPEATS = 9


@dataclass(frozen=True)
class Samples:
    """Timings by number of tokens: two int64 arrays (S,)."""

    tokens: NDArray[np.int64]
    ns: NDArray[np.int64]


def _samples(pairs: list[tuple[int, int]]) -> Samples:
    return Samples(np.array([t for t, _ in pairs], dtype=np.int64), np.array([ns for _, ns in pairs], dtype=np.int64))


def context_sizes(longest: int, shortest: int = 64) -> list[int]:
    """Powers of two from `shortest` to at most `longest` and 4,096."""
    sizes = [s for s in (2**k for k in range(13)) if shortest <= s <= longest]
    return sizes or [max(1, longest)]


def _tokens(pair: Pair, count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = torch.randint(pair.vocabulary, (count,), generator=generator).tolist()
    return tokens


@torch.inference_mode()
def verify_widths(pair: Pair, widths: Sequence[int], longest: int, tick: Callable[[], None]) -> dict[int, int]:
    """Median ns of a target pass over each width, over all contexts and repeats, outside rounds."""
    contexts = [c for c in context_sizes(longest - max(widths)) if c <= 512]
    found: dict[int, list[int]] = {width: [] for width in widths}
    for context in contexts:
        model = pair.target_engine.sequence(context + max(widths))
        model.forward(_tokens(pair, context, context))
        for repeat in range(REPEATS):
            for width in widths:
                start = clock(pair.device)
                model.forward(_tokens(pair, width, repeat))
                found[width].append(clock(pair.device) - start)
                model.rollback(context)
        tick()
    return {width: int(np.median(ns)) for width, ns in found.items()}


def prefills(pair: Pair, longest: int, tick: Callable[[], None]) -> Samples:
    """Prefill of both models over prompts of several lengths (tokens cached: one fewer than the prompt)."""
    found = []
    sizes = context_sizes(longest - 1, shortest=8)
    Decoder(pair, 1, Sampling(), sizes[0]).prefill(_tokens(pair, sizes[0] + 1, 0))  # warm up
    for repeat in range(REPEATS // 2 + 1):
        for size in sizes:
            found.append((size, Decoder(pair, 1, Sampling(), size).prefill(_tokens(pair, size + 1, repeat))))
        tick()
    return _samples(found)


@torch.inference_mode()
def swaps(pair: Pair, longest: int, tick: Callable[[], None]) -> tuple[Samples, Samples]:
    """A request's KV cache (both models) out to host memory and back in, by tokens.

    Out into a reused host buffer (pinned where there is a GPU), in into fresh tensors, tensor by tensor. On the CPU a
    move is a copy.
    """
    out, back = [], []
    for size in context_sizes(longest - 1):
        decoder = Decoder(pair, 1, Sampling(), size)
        decoder.prefill(_tokens(pair, size + 1, size))
        device_side = decoder.target.key_values() + decoder.draft.key_values()
        host_side = [torch.empty(t.shape, dtype=t.dtype, pin_memory=pair.device.type == "cuda") for t in device_side]
        for repeat in range(REPEATS + 1):
            went = _copy(device_side, host_side, pair.device)
            came = _copy(host_side, [torch.empty_like(t) for t in device_side], pair.device)
            if repeat:  # the first touches the memory
                out.append((size, went))
                back.append((size, came))
        tick()
    return _samples(out), _samples(back)


def _copy(source: list[Tensor], target: list[Tensor], device: torch.device) -> int:
    start = clock(device)
    for a, b in zip(source, target, strict=True):
        b.copy_(a, non_blocking=True)
    return clock(device) - start


def steps_of(longest: int) -> int:
    """How often these measurements call `tick`, all together."""
    return len(context_sizes(longest)) * 2 + REPEATS // 2 + 1
