"""What the hardware allows: copy rates, and the least time that a verify pass could take.

Two floors, both from what is measured in the same run. The memory floor: the bytes that a pass must read (weights
without the embedding table, and the keys and values) over the rate at which the device copies. The library floor: the
pass's matrix products alone, without anything between them, as one CUDA graph where there is a GPU.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from calibrate.cache import kv_bytes_per_token
from calibrate.decode import clock
from calibrate.graphs import Captured
from calibrate.lean import LeanEngine
from calibrate.models import Pair
from traces.provenance import Floors

REPEATS = 15


def _median_ns(work: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> int:
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start = clock(device)
        work()
        times.append(clock(device) - start)
    return int(statistics.median(times))


@torch.inference_mode()
def copy_rates(device: torch.device) -> dict[str, float | None]:
    """Bytes a second: within the device (read plus written), and to and from pinned host memory (None on the CPU)."""
    size = 2**30 if device.type == "cuda" else 2**28
    a = torch.randint(-100, 100, (size,), dtype=torch.int8, device=device)
    b = torch.empty_like(a)
    rates: dict[str, float | None] = {"copy": 2e9 * size / _median_ns(lambda: b.copy_(a), device)}
    rates |= {"to_host": None, "from_host": None}
    if device.type == "cuda":
        host = torch.empty(size, dtype=torch.int8, pin_memory=True)
        rates["to_host"] = 1e9 * size / _median_ns(lambda: host.copy_(a, non_blocking=True), device)
        rates["from_host"] = 1e9 * size / _median_ns(lambda: b.copy_(host, non_blocking=True), device)
    return rates


@torch.inference_mode()
def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large square matrix product on random numbers."""
    n = 8_192 if device.type == "cuda" else 1_024
    a, b = (torch.randn(n, n, device=device, dtype=torch.float32).to(dtype) for _ in range(2))
    return 2e9 * n**3 / _median_ns(lambda: a @ b, device, 7)


def pass_bytes(model: Any, tokens: int) -> int:
    """What a pass reads at least: weights without the embedding table, and keys and values of `tokens`."""
    config = model.config
    tied = getattr(config, "tie_word_embeddings", False)
    table = 0 if tied else model.get_input_embeddings().weight.numel()
    size = next(model.parameters()).element_size()
    weights = sum(p.numel() for p in model.parameters()) - table
    return int(size * weights + kv_bytes_per_token(model) * tokens)


@torch.inference_mode()
def products_alone_ns(engine: LeanEngine, width: int, device: torch.device) -> int:
    """A pass's matrix products over `width` tokens and nothing else, as the engine calls the library for them."""
    products = [p for layer in engine.layers for p in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    products.append(engine.head)
    sizes = {p.weight.shape[1] for p in products}
    inputs = {size: torch.randn(width, size, device=device).to(engine.embedding.dtype) for size in sizes}
    kept: list[Tensor] = []

    def run() -> None:
        kept[:] = [product(inputs[product.weight.shape[1]]) for product in products]

    return _median_ns(Captured(run, device), device)


def floors(pair: Pair, n: int, contexts: list[int]) -> Floors:
    """Rates, and both floors of a verify pass over n + 1 tokens at each context (lean engines: both)."""
    dtype = next(pair.target.parameters()).dtype
    rates = copy_rates(pair.device)
    copy = rates["copy"] or 1.0
    alone = None
    if isinstance(pair.target_engine, LeanEngine):
        alone = products_alone_ns(pair.target_engine, n + 1, pair.device)
    return Floors(
        bytes_per_second={name: None if rate is None else round(rate) for name, rate in rates.items()},
        matrix_flops_per_second=round(matrix_rate(pair.device, dtype)),
        verify_memory_floor_ns={c: round(1e9 * pass_bytes(pair.target, c) / copy) for c in contexts},
        verify_products_alone_ns=alone,
    )
