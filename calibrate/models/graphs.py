"""CUDA graphs of fixed sequences of GPU operations, and time marks that do not stop the GPU.

At batch size 1, launching operations one by one takes longer than running them; a graph is launched
as a whole. A captured function reads and writes tensors whose addresses do not change, and it never
waits for the host.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch

WARM_UP = 3


class CaptureError(RuntimeError):
    """A function could not be captured.

    With torch before 2.12, no other function can be captured in the same process afterwards.
    """


class Capturing(Protocol):
    """Captures a function without arguments and returns a function that replays it."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]: ...


class Graphs:
    """CUDA graphs of one device.

    They share a stream, its library workspace and a memory pool, so only one graph may run at a
    time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Run `function` a few times, capture it, and return a function that replays the graph.

        Raises
        ------
        CaptureError
            If it cannot be captured.
        """
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            # libraries initialise, and kernels compile, before the capture
            for _ in range(WARM_UP):
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
    """Return the set of graphs of a device; there is one per device."""
    return Graphs(device)


class Marks:
    """Time marks between pieces of work on a device, which are read after the work is done."""

    def __init__(self, device: torch.device, count: int) -> None:
        self._cuda = device.type == "cuda"
        self._device = device
        self._events: list[Any] = (
            [torch.cuda.Event(enable_timing=True) for _ in range(count)] if self._cuda else []
        )
        self._times = [0] * count

    def mark(self, i: int) -> None:
        """Set mark i after all work that the device has been given so far."""
        if self._cuda:
            self._events[i].record()
        else:
            self._times[i] = time.perf_counter_ns()

    def between_ns(self, i: int, j: int) -> int:
        """Wait for mark j and return the nanoseconds from mark i to mark j."""
        if not self._cuda:
            return self._times[j] - self._times[i]
        self._events[j].synchronize()
        return round(self._events[i].elapsed_time(self._events[j]) * 1e6)
