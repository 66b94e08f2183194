"""Choice of operators: Triton kernels if they give the results of plain torch, else plain torch."""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from lapsd.calibrate.models.operators import PLAIN, Operators

# programs of attention per multiprocessor: with fewer, it is idle while it waits for memory
PROGRAMS = 2
FLOATS = (torch.bfloat16, torch.float16, torch.float32)  # types that the kernels support


def operators(device: torch.device, dtype: torch.dtype) -> Operators:
    """Return the operators for a device and a type.

    On a GPU they are the Triton kernels, if these give the results of the plain versions. Otherwise
    they are the plain versions, with the reason in their name.
    """
    if device.type != "cuda":
        return PLAIN
    return (
        _kernels()
        if dtype in FLOATS
        else replace(PLAIN, name=f"plain: there are no kernels for {dtype}")
    )


@cache
def _kernels() -> Operators:
    try:
        # needs Triton, which only the CUDA builds of torch include
        from lapsd.calibrate.models.triton_kernels import KERNELS

        wrong = disagreement(KERNELS, torch.device("cuda"), torch.float16)
        if wrong:
            return replace(PLAIN, name=f"plain: {wrong}")
        return replace(
            KERNELS, programs=PROGRAMS * torch.cuda.get_device_properties(0).multi_processor_count
        )
    except Exception as error:  # no Triton, no compiler, or an unsupported GPU
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        return replace(PLAIN, name=f"plain: {reason}")


@torch.inference_mode()
def disagreement(
    ours: Operators, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> str | None:
    """Return how `ours` differ from the plain versions on random numbers; None up to rounding."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    rows, width, heads, kv_heads, size, slots = 3, 3, 4, 2, 24, 200
    positions = torch.tensor([0, 70, slots - width], device=device)
    angles = torch.rand(slots, size // 2, generator=generator).to(device)
    cos = torch.cat([angles.cos(), angles.cos()], -1).to(dtype)
    signed_sin = torch.cat([-angles.sin(), angles.sin()], -1).to(dtype)
    qkv, memory = (
        random(rows, width, heads + 2 * kv_heads, size),
        random(2, rows, kv_heads, slots, size),
    )
    gate_up, x, weight = random(5, 2 * 37), random(5, 37), random(37)

    def outcome(run: Operators) -> dict[str, Tensor]:
        new, held = qkv.clone(), memory.clone()
        run.rotate_and_store(new, cos, signed_sin, positions, held)
        return {
            "rotated queries": new[:, :, :heads],
            "stored keys and values": held,
            "attention": run.attend(new, held, positions, 1),
            "attention in parts": run.attend(new, held, positions, 4),
            "silu": run.silu_multiply(gate_up),
            "norm": run.norm(x, weight, 1e-5),
        }

    right = outcome(PLAIN)
    for name, got in outcome(ours).items():
        off = float((got.double() - right[name].double()).norm() / right[name].double().norm())
        if not off <= 8 * torch.finfo(dtype).eps:
            return f"{name}: kernels differ from plain versions by {off:.1e}"
    return None
