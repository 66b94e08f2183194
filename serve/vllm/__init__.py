"""lapsd's policies in vLLM: scheduler classes, and a process that serves plans.

`vllm serve MODEL --scheduler-cls lapsd.serve.vllm.LapsdScheduler --additional-config '{"lapsd":
{"policy": "laps-sd"}}'`
"""

from importlib import import_module
from typing import Any

__all__ = ["AsyncLapsdScheduler", "LapsdScheduler"]


def __getattr__(name: str) -> Any:
    # imported on first use: the other modules also work without vLLM
    if name in __all__:
        return getattr(import_module("lapsd.serve.vllm.scheduler"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
