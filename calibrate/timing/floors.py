"""Limits of the hardware: copy rates, lower bounds of a verify pass, and times of attention.

There are two lower bounds, or floors, of the time of a verify pass, both measured in the same run.
The memory floor is the number of bytes that a pass must read (the weights without the embedding
table, and the keys and values) divided by the copy rate of the device. The library floor is the
time of the matrix products of the pass alone, as one CUDA graph on a GPU.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from lapsd.calibrate.models.cache import kv_bytes_per_token
from lapsd.calibrate.models.graphs import Capturing, Marks
from lapsd.calibrate.models.lean import LeanEngine
from lapsd.calibrate.models.loading import Pair
from lapsd.traces.provenance import Floors

REPEATS, COPIES = 15, 10
WARM_UP_S = 0.5  # the clocks of an idle GPU rise slowly
LIBRARY = {"cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}


def device_ns(work: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> int:
    """Return the median time of `work` on the device, without the time to launch it."""
    marks = Marks(device, 2)
    times = []
    for _ in range(repeats + 3):
        marks.mark(0)
        work()
        marks.mark(1)
        times.append(marks.between_ns(0, 1))
    return int(statistics.median(times[3:]))


def captured(work: Callable[[], None], graphs: Capturing | None) -> Callable[[], None]:
    """Return `work` as a graph, or unchanged if `graphs` is None."""
    return work if graphs is None else graphs.capture(work)


@torch.inference_mode()
def warm_up(device: torch.device, seconds: float = WARM_UP_S) -> None:
    """Keep a GPU busy until its clocks have risen."""
    if device.type != "cuda":
        return
    a = torch.randn(4_096, 4_096, device=device, dtype=torch.bfloat16)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        a = (a @ a) / a.norm()
        torch.cuda.synchronize(device)


@torch.inference_mode()
def copy_rate(device: torch.device) -> float:
    """Return the copy rate within the device in bytes per second, read plus written.

    It is measured over ten successive copies of 4 GiB, or less if memory is short (CPU: 64 MiB).
    """
    size = 2**26
    if device.type == "cuda":
        size = min(2**32, torch.cuda.mem_get_info(device)[0] // 4)
    a = torch.randint(-100, 100, (size,), dtype=torch.int8, device=device)
    b = torch.empty_like(a)
    warm_up(device)

    def copies() -> None:
        for _ in range(COPIES):
            b.copy_(a)

    return 2e9 * COPIES * size / device_ns(copies, device, 3)


@torch.inference_mode()
def host_rates(device: torch.device) -> dict[str, float | None]:
    """Return the bytes per second to and from pinned host memory; None on the CPU."""
    if device.type != "cuda":
        return {"to_host": None, "from_host": None}
    size = 2**30
    there = torch.randint(-100, 100, (size,), dtype=torch.int8, device=device)
    here = torch.empty(size, dtype=torch.int8, pin_memory=True)
    return {
        "to_host": 1e9 * size / device_ns(lambda: here.copy_(there, non_blocking=True), device, 5),
        "from_host": 1e9
        * size
        / device_ns(lambda: there.copy_(here, non_blocking=True), device, 5),
    }


@torch.inference_mode()
def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large square matrix product."""
    n = 8_192 if device.type == "cuda" else 1_024
    a, b = (torch.randn(n, n, device=device, dtype=torch.float32).to(dtype) for _ in range(2))
    return 2e9 * n**3 / device_ns(lambda: a @ b, device, 7)


def pass_bytes(model: Any, tokens: int) -> int:
    """Return the bytes that a pass must read at least.

    They are the weights without the embedding table, and the keys and values of `tokens` tokens.
    """
    config = model.config
    tied = getattr(config, "tie_word_embeddings", False)
    table = 0 if tied else model.get_input_embeddings().weight.numel()
    size = next(model.parameters()).element_size()
    weights = sum(p.numel() for p in model.parameters()) - table
    return int(size * weights + kv_bytes_per_token(model) * tokens)


@torch.inference_mode()
def products_alone_ns(engine: LeanEngine, width: int, graphs: Capturing | None) -> int:
    """Return the time of only the matrix products of a pass over `width` tokens."""
    products = [
        p for layer in engine.layers for p in (layer.qkv, layer.out, layer.gate_up, layer.down)
    ]
    products.append(engine.head)
    sizes = {p.weight.shape[1] for p in products}
    inputs = {
        size: torch.randn(width, size, device=engine.device).to(engine.embedding.dtype)
        for size in sizes
    }
    kept: list[Tensor] = []

    def run() -> None:
        kept[:] = [product(inputs[product.weight.shape[1]]) for product in products]

    return device_ns(captured(run, graphs), engine.device)


@torch.inference_mode()
def attention_alone_ns(
    engine: LeanEngine, width: int, context: int, way: str | int, graphs: Capturing | None
) -> int:
    """Return the time of only the attention of a pass over `width` tokens of one row.

    Parameters
    ----------
    engine : LeanEngine
    width, context : int
    way : int or str
        An int runs our kernel with this number of parts of the keys. A name in `LIBRARY` runs
        torch's kernel of that name, with a mask.
    graphs : Capturing or None
    """
    cache = engine.new_cache(1, context + width).normal_()
    shape = (1, width, engine.heads + 2 * engine.kv_heads, engine.size)
    qkv = torch.randn(shape, device=engine.device).to(engine.embedding.dtype)
    start = torch.tensor([context], device=engine.device)
    queries = qkv[:, :, : engine.heads].transpose(1, 2)
    mask = torch.ones(width, context + width, dtype=torch.bool, device=engine.device).tril(context)
    grouped = engine.heads > engine.kv_heads

    def library() -> None:
        for keys, values in cache:
            functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, enable_gqa=grouped
            )

    if isinstance(way, str):
        with sdpa_kernel(LIBRARY[way]):
            return device_ns(captured(library, graphs), engine.device)
    splits = way

    def ours() -> None:
        for held in cache:
            engine.operators.attend(qkv, held, start, splits)

    return device_ns(captured(ours, graphs), engine.device)


def floors(pair: Pair, n: int, contexts: list[int]) -> Floors:
    """Return the rates of the hardware and the floors of a verify pass over n + 1 tokens.

    The memory floor is given for each context. The library floor needs the lean engine.
    """
    dtype = next(pair.target.parameters()).dtype
    copy = copy_rate(pair.device)
    rates = {"copy": copy} | host_rates(pair.device)
    alone = None
    if isinstance(pair.target_engine, LeanEngine):
        alone = products_alone_ns(pair.target_engine, n + 1, pair.graphs)
    return Floors(
        bytes_per_second={
            name: None if rate is None else round(rate) for name, rate in rates.items()
        },
        matrix_flops_per_second=round(matrix_rate(pair.device, dtype)),
        verify_memory_floor_ns={
            c: round(1e9 * pass_bytes(pair.target, c) / copy) for c in contexts
        },
        verify_products_alone_ns=alone,
    )
