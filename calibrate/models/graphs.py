"""Fixed sequences of GPU operations as CUDA graphs, and marks in time that do not stop the GPU.

At batch 1 launching operations one by one takes longer than running them; a graph is launched once.
What a captured function reads and writes are tensors that stay where they are, and it never waits
for the host.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch

WARM_UP = 3


class CaptureError(RuntimeError):
    """A function could not be captured; with torch before 2.12 nothing else can be in this process
    either.
    """


class Capturing(Protocol):
    """What turns a function into one that can be run again and again."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]: ...


class Graphs:
    """CUDA graphs of one device, which share a stream, its library workspace and a memory pool: one
    may run at a
    time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """`function`, run a few times, then as a graph.

        Raises
        ------
        CaptureError
            If it cannot be captured.
        """
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(
                WARM_UP
            ):  # libraries choose and initialise, kernels compile: none of it may be captured
                function()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                function()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise CaptureError(f"a CUDA graph could not be captured: {error}") from error
        return graph.replay


@cache
def graphs_of(device: torch.device) -> Graphs:
    """The one set of graphs of a device."""
    return Graphs(device)


class Marks:
    """Moments between pieces of work on a device, read together once it is done."""

    def __init__(self, device: torch.device, count: int) -> None:
        self._cuda = device.type == "cuda"
        self._device = device
        self._events: list[Any] = (
            [torch.cuda.Event(enable_timing=True) for _ in range(count)] if self._cuda else []
        )
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
