"""Train one model with several processes: each takes its rows of a block; gradients are averaged.

Start them with `torchrun --nproc-per-node N -m lapsd.calibrate.reference ...`. Without torchrun
there is one process, and the functions of this module have no effect. On a shared CPU, processes
with one thread each are faster than one process with several threads: processes synchronise once
per step, but threads many thousand times. On two shared cores, processes trained 4,000 tokens per
second and threads 500.
"""

import os
from collections.abc import Iterator

import torch
from torch import Tensor, distributed


def join() -> None:
    """Connect to the other processes, if `torchrun` started this one."""
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")


def rank() -> int:
    """Return the number of this process; 0 if it is the only one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def wait() -> None:
    """Wait until all processes have called this function."""
    if distributed.is_initialized():
        distributed.barrier()


def rows(blocks: Iterator[Tensor]) -> Iterator[Tensor]:
    """Return this process's rows of each block, (batch / processes, width)."""
    return (block[rank() :: size()] for block in blocks)


def average(model: torch.nn.Module, loss: Tensor) -> Tensor:
    """Average the gradients over all processes in place, and return the average loss."""
    if size() == 1:
        return loss
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([loss.view(1).float(), *[g.flatten() for g in gradients]])
    distributed.all_reduce(flat)
    flat /= size()
    at = 1
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()
    return flat[0]
