"""Where a measurement comes from: models, settings, machine, library versions, command, commit, time."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from calibrate.lean import LeanEngine
from calibrate.models import Pair


def stamp(pair: Pair, command: str, commit: str | None = None) -> dict[str, Any]:
    """What a reader needs to judge a measurement made with `pair` by `command`; `commit` where there is no .git."""
    return {
        "target": _described(pair.target, pair.target_name),
        "draft": _described(pair.draft, pair.draft_name),
        "weights": pair.weights,
        "dtype": pair.dtype,
        "engine": {"target": pair.target_engine.name, "draft": pair.draft_engine.name},
        "rounds": "eager" if pair.graphs is None else "CUDA graphs",
        "attention": _attention(pair),
        "cudnn_attention": torch.backends.cuda.cudnn_sdp_enabled(),
        "hardware": hardware(pair.device),
        "software": software(),
        "command": command,
        "commit": commit or _commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _attention(pair: Pair) -> str:
    if isinstance(pair.target_engine, LeanEngine):
        return pair.target_engine.operators.name
    return str(getattr(pair.target.config, "_attn_implementation", "unknown"))


def _described(model: Any, name: str) -> dict[str, Any]:
    return {"name": name, "parameters": sum(p.numel() for p in model.parameters()), "type": model.config.model_type}


def software() -> dict[str, Any]:
    """Versions of what a measurement runs on."""
    return {
        "lapsd": _version("lapsd"),
        "torch": torch.__version__,
        "transformers": _version("transformers"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """The machine, and the GPU if that is where models run."""
    machine: dict[str, Any] = {
        "device": device.type,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        machine |= {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory, "cuda": torch.version.cuda}
    return machine


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    """The commit of the source, if it runs from a checkout."""
    try:
        result = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
