"""Time prefills of both models by length and batch size.

Recomputing a dropped cache is the same work as a prefill.
"""

import time
from collections.abc import Callable, Sequence

import pandas as pd
import torch

from lapsd.calibrate.decoding.decoder import Sampling, clock, make_decoder
from lapsd.calibrate.decoding.rounds import DeviceRounds
from lapsd.calibrate.models.loading import Pair

REPEATS, LEAST_REPEATS = 5, 2
MOST_TOKENS = 16_384  # in one batched prefill
FITTED = (8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096)
HELD_OUT = (100, 300, 700, 1_500, 3_000)
BATCHED = (64, 256, 1_024)


def time_prefills(
    pair: Pair,
    longest: int,
    batches: Sequence[int] = (),
    tick: Callable[[], None] = lambda: None,
    *,
    deadline: float = float("inf"),
) -> pd.DataFrame:
    """Return the times of prefills, one row each: batch, tokens (of all rows), ns, role.

    Parameters
    ----------
    pair : Pair
    longest : int
        Most tokens of one prompt.
    batches : sequence of int
        Batch sizes. Sizes above 1 are timed with lean engines only and are held out: the prefill
        term is fitted to single prompts.
    tick : callable
        Called after each repetition.
    deadline : float
        On the clock `time.monotonic`. After it the remaining repetitions, except for the first
        `LEAST_REPEATS`, and the remaining batches are left out.
    """
    fitted = [s for s in FITTED if s <= longest] or [max(1, longest)]
    held_out = [s for s in HELD_OUT if s <= longest]
    rows: list[tuple[int, int, int, str]] = []
    for size in (*fitted, *held_out):  # warm-up: libraries choose kernels by size
        _single(pair, size)
    for repeat in range(REPEATS):
        if repeat >= LEAST_REPEATS and time.monotonic() > deadline:
            break
        rows += [(1, size, _single(pair, size), "fit") for size in fitted]
        rows += [(1, size, _single(pair, size), "held_out") for size in held_out]
        tick()
    for b, size in batched_sizes(pair, longest, batches):
        if time.monotonic() > deadline:
            break
        rows += [(b, b * size, ns, "held_out") for ns in _batched(pair, b, size)]
    tick()
    return pd.DataFrame(rows, columns=["batch", "tokens", "ns", "role"])


def batched_sizes(pair: Pair, longest: int, batches: Sequence[int]) -> list[tuple[int, int]]:
    """Return the batch sizes and lengths of batched prefills, the smallest first."""
    sizes = [
        (b, s) for b in batches if b > 1 for s in BATCHED if s <= longest and b * s <= MOST_TOKENS
    ]
    return sorted(sizes, key=lambda size: size[0] * size[1]) if pair.lean else []


def _single(pair: Pair, size: int) -> int:
    tokens: list[int] = torch.randint(pair.vocabulary, (size + 1,)).tolist()
    return make_decoder(pair, 1, Sampling(), size + 3).prefill(tokens)


def _batched(pair: Pair, batch: int, size: int) -> list[int]:
    rounds = DeviceRounds(pair, 1, batch, capacity=size + 3)
    times = []
    for _ in range(REPEATS + 1):
        tokens = torch.randint(pair.vocabulary, (batch, size), device=pair.device)
        start = clock(pair.device)
        rounds.prefill(tokens)
        times.append(clock(pair.device) - start)
    return times[1:]
