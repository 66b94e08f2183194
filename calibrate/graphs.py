"""A fixed sequence of GPU operations as one CUDA graph, and marks in time that do not stop the GPU.

At batch 1 launching operations one by one takes longer than running them; a graph is launched once. What a captured
function reads and writes are tensors that stay where they are. On the CPU both are ordinary calls.
"""

import time
from collections.abc import Callable
from typing import Any

import torch

WARM_UP = 3


class Captured:
    """`function`, captured on a CUDA device, called as it is elsewhere.

    Parameters
    ----------
    pool : memory pool that graphs share, from `graph_pool`; only one of them may run at a time.
    """

    def __init__(self, function: Callable[[], None], device: torch.device, pool: Any = None) -> None:
        self._run = function
        if device.type != "cuda":
            return
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):  # libraries choose and initialise what may not be captured
                function()
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            function()
        self._run = graph.replay

    def __call__(self) -> None:
        self._run()


def graph_pool(device: torch.device) -> Any:
    """A memory pool for graphs; None where there are none."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


class Marks:
    """Moments between pieces of work on a device, read together once it is done."""

    def __init__(self, device: torch.device, count: int) -> None:
        self._cuda = device.type == "cuda"
        self._device = device
        self._events: list[Any] = [torch.cuda.Event(enable_timing=True) for _ in range(count)] if self._cuda else []
        self._times = [0] * count

    def mark(self, i: int) -> None:
        """All work given to the device so far, and no later, comes before mark i."""
        if self._cuda:
            self._events[i].record()
        else:
            self._times[i] = time.perf_counter_ns()

    def between_ns(self, i: int, j: int) -> int:
        """Nanoseconds from mark i to mark j; waits for mark j."""
        if not self._cuda:
            return self._times[j] - self._times[i]
        self._events[j].synchronize()
        return round(self._events[i].elapsed_time(self._events[j]) * 1e6)
