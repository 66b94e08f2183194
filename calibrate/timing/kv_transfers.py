"""Time KV transfers: swapping a request's KV cache out to host memory and in again.

There are four methods.

- `pinned`: gather the cache into one buffer on the device, then copy it to a pinned pool, which is
  reused.
- `pageable`: the same with ordinary memory (on the CPU the copy is direct).
- `naive`: copy tensor by tensor into newly allocated memory, waiting for each copy.
- `int8`: quantise (symmetrically, one scale per layer, head and channel), transfer, dequantise.

A transfer includes the caches of both models. Times include the wait for the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lapsd.calibrate.decoding.decoder import Decoder, Sampling, clock, make_decoder
from lapsd.calibrate.decoding.rounds import DeviceRounds
from lapsd.calibrate.models.lean import LeanEngine
from lapsd.calibrate.models.loading import Pair

REPEATS = 9


@dataclass(frozen=True)
class TransferTimes:
    """Times of KV transfers by one method.

    Attributes
    ----------
    tokens : list of int
        Tokens of each transferred cache.
    out_ns, back_ns : list of int
        Times of each swap-out and swap-in.
    bytes_per_token : float
        Transferred bytes per token, including scales.
    """

    tokens: list[int]
    out_ns: list[int]
    back_ns: list[int]
    bytes_per_token: float


def cache_of(pair: Pair, tokens: int) -> list[Tensor]:
    """Return both models' keys and values of `tokens` random tokens.

    They are views (..., tokens, size) of the models' buffers.
    """
    generator = torch.Generator().manual_seed(tokens)
    prompt: list[int] = torch.randint(pair.vocabulary, (tokens + 1,), generator=generator).tolist()
    with torch.inference_mode():
        decoder = make_decoder(pair, 1, Sampling(), tokens + 3)
        decoder.prefill(prompt)
        if isinstance(decoder, Decoder):
            return [
                t[..., :tokens, :] for t in decoder.target.key_values() + decoder.draft.key_values()
            ]
        rounds = decoder.rounds
        return [
            t[:, :, 0, :, :tokens] for t in (rounds.target.key_values(), rounds.draft.key_values())
        ]


class Pool:
    """A reusable host buffer of `size` elements and, on a GPU, a buffer there to gather into.

    Parameters
    ----------
    size : int
    dtype : dtype
    device : device
    pinned : bool
        Whether the host buffer is pinned.
    staging : Tensor, optional
        The buffer on the GPU. Pools that never transfer at the same time may share it. By default
        it is allocated.
    """

    def __init__(
        self,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
        pinned: bool,
        staging: Tensor | None = None,
    ) -> None:
        start = clock(device)
        self.host = torch.empty(size, dtype=dtype, pin_memory=pinned)
        self.allocation_ns = clock(device) - start
        if staging is None and device.type == "cuda":
            staging = torch.empty(size, dtype=dtype, device=device)
        self.staging = staging

    def out(self, pieces: Sequence[Tensor]) -> None:
        """Swap out: copy tensors to the host, without waiting for a GPU."""
        size = self._each(pieces, lambda part, piece: part.copy_(piece))
        if self.staging is not None:
            self.host[:size].copy_(self.staging[:size], non_blocking=True)

    def back(self, pieces: Sequence[Tensor]) -> None:
        """Swap in: copy the content of the host buffer into tensors of the same shapes."""
        size = sum(p.numel() for p in pieces)
        if self.staging is not None:
            self.staging[:size].copy_(self.host[:size], non_blocking=True)
        self._each(pieces, lambda part, piece: piece.copy_(part))

    def _each(self, pieces: Sequence[Tensor], copy: Callable[[Tensor, Tensor], Any]) -> int:
        flat = self.host if self.staging is None else self.staging
        start = 0
        for piece in pieces:
            copy(flat[start : start + piece.numel()].view(piece.shape), piece)
            start += piece.numel()
        return start


class _Naive:
    """Copies the tensors of each layer one by one into new memory, and waits for each copy."""

    def __init__(self) -> None:
        self._kept: list[list[Tensor]] = []

    def out(self, pieces: Sequence[Tensor]) -> None:
        # on the CPU, `.cpu()` would not copy anything
        self._kept = [
            [part.cpu() if part.is_cuda else part.clone() for part in _layers(p)] for p in pieces
        ]

    def back(self, pieces: Sequence[Tensor]) -> None:
        for piece, kept in zip(pieces, self._kept, strict=True):
            for part, host in zip(_layers(piece), kept, strict=True):
                part.copy_(host.to(part.device) if part.is_cuda else host.clone())


def _layers(piece: Tensor) -> list[Tensor]:
    """Return the keys and values of each layer: 2·layers tensors for a (layers, 2, ...) tensor.

    A tensor of a single layer is returned as it is.
    """
    return [piece] if piece.dim() < 5 else list(piece.flatten(0, 1))


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 values, and the scale of each channel, which all tokens share.

    Channels are the last dimension of `x`, tokens the one before it.
    """
    scale = (x.abs().amax(-2, keepdim=True) / 127).clamp_min(torch.finfo(x.dtype).tiny)
    return (x / scale).round().clamp(-127, 127).to(torch.int8), scale


class _Int8:
    """Transfers quantised tensors and their scales through two pools."""

    def __init__(self, size: int, pieces: Sequence[Tensor], pinned: bool) -> None:
        device, dtype = pieces[0].device, pieces[0].dtype
        self._values = Pool(size, torch.int8, device, pinned)
        self._scales = Pool(sum(p[..., :1, :].numel() for p in pieces), dtype, device, pinned)

    def out(self, pieces: Sequence[Tensor]) -> None:
        both = [quantise(p) for p in pieces]
        self._values.out([v for v, _ in both])
        self._scales.out([s for _, s in both])

    def back(self, pieces: Sequence[Tensor]) -> None:
        values = [torch.empty(p.shape, dtype=torch.int8, device=p.device) for p in pieces]
        scales = [torch.empty_like(p[..., :1, :]) for p in pieces]
        self._values.back(values)
        self._scales.back(scales)
        for piece, value, scale in zip(pieces, values, scales, strict=True):
            torch.mul(value, scale, out=piece) if piece.is_contiguous() else piece.copy_(
                value * scale
            )


@torch.inference_mode()
def time_swaps(
    pair: Pair, sizes: Sequence[int], tick: Callable[[], None] = lambda: None
) -> tuple[dict[str, TransferTimes], dict[str, Any]]:
    """Time KV transfers by all methods at all sizes, with the methods interleaved.

    Returns
    -------
    (times by method, notes). The notes are `pin_ns`, the time to allocate the pinned pool;
    `pinned_bytes`, its size, which torch rounds up to a power of two (both None on the CPU); and
    `int8_relative_error`, ‖x̂ − x‖ / ‖x‖ over keys and values (None for random weights, where it
    would be meaningless).
    """
    cuda = pair.device.type == "cuda"
    longest = cache_of(pair, max(sizes))
    most = sum(p.numel() for p in longest)
    dtype = longest[0].dtype
    pageable = Pool(most, dtype, pair.device, pinned=False)
    ways: dict[str, Any] = {
        "pageable": pageable,
        "naive": _Naive(),
        "int8": _Int8(most, longest, cuda),
    }
    if cuda:
        ways = {"pinned": Pool(most, dtype, pair.device, pinned=True), **ways}
    timed: dict[str, list[tuple[int, int, int]]] = {way: [] for way in ways}
    error: list[float] = []
    for size in sizes:
        pieces = cache_of(pair, size)
        true = [p.clone() for p in pieces]
        for repeat in range(REPEATS + 1):
            for name, way in ways.items():
                start = clock(pair.device)
                way.out(pieces)
                middle = clock(pair.device)
                way.back(pieces)
                if repeat:  # the first transfer initialises the memory
                    timed[name].append((size, middle - start, clock(pair.device) - middle))
                if name == "int8":
                    error.append(_relative_error(pieces, true))
                    for piece, was in zip(pieces, true, strict=True):
                        piece.copy_(was)
        tick()
    elements = sum(p.numel() for p in longest) / max(sizes)
    scales = sum(p[..., :1, :].numel() for p in longest) / max(sizes)
    width = longest[0].element_size()
    moved = dict.fromkeys(ways, elements * width) | {"int8": elements + scales * width}
    times = {
        name: TransferTimes(
            [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], moved[name]
        )
        for name, rows in timed.items()
    }
    notes = {
        "pin_ns": ways["pinned"].allocation_ns if cuda else None,
        "pinned_bytes": 2 ** (most * dtype.itemsize - 1).bit_length() if cuda else None,
        "int8_relative_error": None if pair.weights == "random" else float(np.median(error)),
    }
    return times, notes


def _relative_error(got: Sequence[Tensor], true: Sequence[Tensor]) -> float:
    off = sum(
        float((a.double() - b.double()).square().sum()) for a, b in zip(got, true, strict=True)
    )
    return float(np.sqrt(off / sum(float(b.double().square().sum()) for b in true)))


@torch.inference_mode()
def swap_during_decode(pair: Pair, tokens: int, n: int, rounds: int = 20) -> dict[str, Any] | None:
    """Time a pinned swap-out, on its own stream, that overlaps with a round.

    Returns the median ns of both, alone and together; None without a GPU or the lean engine.
    """
    if pair.device.type != "cuda" or not isinstance(pair.target_engine, LeanEngine):
        return None
    pieces = cache_of(pair, tokens)
    pool = Pool(sum(p.numel() for p in pieces), pieces[0].dtype, pair.device, pinned=True)
    running = DeviceRounds(pair, n, capacity=tokens + n + 2)
    running.stand([tokens])
    running.ready()
    stream = torch.cuda.Stream(pair.device)

    def timed(swap: bool, decode: bool) -> tuple[int, int]:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        if decode:
            running.round(stay=True)
        with torch.cuda.stream(stream):
            begin.record()
            if swap:
                pool.out(pieces)
            end.record()
        torch.cuda.synchronize()
        spent = running.times() if decode else None
        return round(
            begin.elapsed_time(end) * 1e6
        ), 0 if spent is None else spent.draft_ns + spent.verify_ns

    timed(True, True)
    swap_alone = [timed(True, False)[0] for _ in range(rounds)]
    overlapped = [timed(True, True) for _ in range(rounds)]
    round_alone = [timed(False, True)[1] for _ in range(rounds)]
    return {
        "tokens": tokens,
        "swap_alone_ns": int(np.median(swap_alone)),
        "swap_during_decode_ns": int(np.median([s for s, _ in overlapped])),
        "round_alone_ns": int(np.median(round_alone)),
        "round_during_swap_ns": int(np.median([r for _, r in overlapped])),
    }
