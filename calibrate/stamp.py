"""Provenance of a measurement: models, machine, library versions, command, commit and time."""

import os
import platform
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lapsd.calibrate.models.lean import LeanEngine
from lapsd.calibrate.models.loading import Pair
from lapsd.traces.provenance import Hardware, Model, Provenance


def stamp(pair: Pair, command: str, commit: str = "") -> Provenance:
    """Return the provenance of a measurement made with `pair` by `command`.

    `commit` is for a source without a .git folder; by default it is read from git.
    """
    return Provenance(
        target=_described(pair.target, pair.target_name),
        draft=_described(pair.draft, pair.draft_name),
        dtype=pair.dtype,
        hardware=hardware(pair.device),
        software=software(),
        command=command,
        commit=commit or _commit(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        notes={
            "weights": pair.weights,
            "engine": {"target": pair.target_engine.name, "draft": pair.draft_engine.name},
            "rounds": "eager" if pair.graphs is None else "CUDA graphs",
            "attention": _attention(pair),
            "cudnn_attention": torch.backends.cuda.cudnn_sdp_enabled(),
        },
    )


def _attention(pair: Pair) -> str:
    if isinstance(pair.target_engine, LeanEngine):
        return pair.target_engine.operators.name
    return str(getattr(pair.target.config, "_attn_implementation", "unknown"))


def _described(model: Any, name: str) -> Model:
    return Model(
        name=name,
        parameters=sum(p.numel() for p in model.parameters()),
        type=model.config.model_type,
    )


def software() -> dict[str, str]:
    """Return the versions of lapsd, its main libraries and Python, and the name of the system."""
    return {
        "lapsd": _version("lapsd"),
        "torch": torch.__version__,
        "transformers": _version("transformers"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def hardware(device: torch.device) -> Hardware:
    """Return a description of the machine, including the GPU if models run on it."""
    machine = Hardware(
        device=device.type, cpu=_cpu_name(), cores=os.cpu_count(), threads=torch.get_num_threads()
    )
    if device.type != "cuda":
        return machine
    gpu = torch.cuda.get_device_properties(device)
    return replace(
        machine, gpu=gpu.name, gpu_memory_bytes=gpu.total_memory, cuda=torch.version.cuda or ""
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit of the source, or an empty string outside a git checkout."""
    try:
        result = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()
