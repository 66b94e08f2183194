"""lapsd's policies in vLLM: scheduler classes for it, and a process that drives it.

`vllm serve MODEL --scheduler-cls lapsd.serve.vllm.LapsdScheduler --additional-config '{"lapsd":
{"policy": "laps-sd"}}'`
"""

from importlib import import_module
from typing import Any

__all__ = ["AsyncLapsdScheduler", "LapsdScheduler"]


def __getattr__(name: str) -> Any:
    # late: what needs no vLLM is used, and tested, where there is none
    if name in __all__:
        return getattr(import_module("lapsd.serve.vllm.scheduler"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
