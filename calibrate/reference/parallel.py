"""Several processes train one model: each takes its rows of a block, and gradients are averaged.

Started by `torchrun --nproc-per-node N -m lapsd.calibrate.reference ...`; without it there is one
process, and nothing here does anything. On a CPU that others use too, processes of one thread each
wait for each other once a step, threads many thousand times: on two shared cores that was the
difference between 4,000 and 500 tokens a second.
"""

import os
from collections.abc import Iterator

import torch
from torch import Tensor, distributed


def join() -> None:
    """Meet the other processes, if `torchrun` started this one."""
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")


def rank() -> int:
    """Which process this is; 0 if it is the only one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def wait() -> None:
    """Go on when all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


def rows(blocks: Iterator[Tensor]) -> Iterator[Tensor]:
    """This process's rows of each block, (batch / processes, width)."""
    return (block[rank() :: size()] for block in blocks)


def average(model: torch.nn.Module, loss: Tensor) -> Tensor:
    """Average the gradients in place, and give the average loss."""
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
