"""Read the state of a GPU: clocks, power, temperature, and limits of the clocks.

This module never changes any setting.
"""

import subprocess
from typing import Any

FIELDS = {
    "sm_clock_mhz": "clocks.sm",
    "memory_clock_mhz": "clocks.mem",
    "power_watt": "power.draw",
    "temperature_celsius": "temperature.gpu",
    "throttle_reasons": "clocks_throttle_reasons.active",
    "driver": "driver_version",
}
# bits of NVML's throttle reasons that slow down a busy GPU; idle (1) and application clocks (2) are
# not among them
HOLDING_BACK = 0xFC


def gpu_state(index: int = 0) -> dict[str, Any] | None:
    """Return the state of one GPU; None if it cannot be read.

    It comes from NVML, or from nvidia-smi if the Python binding of NVML is missing.
    """
    return _by_nvml(index) or _by_nvidia_smi(index)


# NVML's counters of the time during which a limit reduced the clocks
POLICIES = {"power": 0, "thermal": 1, "board": 3, "reliability": 5}


def held_back_ns(index: int = 0) -> dict[str, int] | None:
    """Return the time in ns during which each limit has reduced the clocks; None if not counted.

    The counters start when the driver is loaded. Use the difference of two readings for a period of
    work: a `gpu_state` read after the period may not show a limit that was active during it.
    """
    try:
        import pynvml as nvml

        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        return {
            name: int(nvml.nvmlDeviceGetViolationStatus(handle, policy).violationTime)
            for name, policy in POLICIES.items()
        }
    except Exception:  # no binding, no driver, or counters that this GPU does not have
        return None


def holds_back(state: dict[str, Any] | None) -> bool:
    """Return whether power, heat or the hardware limits the clocks."""
    return bool(state and int(state.get("throttle_reasons") or 0) & HOLDING_BACK)


def _by_nvml(index: int) -> dict[str, Any] | None:
    try:
        import pynvml as nvml

        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        driver = nvml.nvmlSystemGetDriverVersion()
        return {
            "sm_clock_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "power_watt": nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
            "temperature_celsius": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "throttle_reasons": nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
            "driver": driver.decode() if isinstance(driver, bytes) else driver,
        }
    except Exception:  # no binding, no driver, or a value that this GPU does not support
        return None


def _by_nvidia_smi(index: int) -> dict[str, Any] | None:
    query = [
        "nvidia-smi",
        f"--id={index}",
        f"--query-gpu={','.join(FIELDS.values())}",
        "--format=csv,noheader,nounits",
    ]
    try:
        line = subprocess.run(
            query, capture_output=True, text=True, timeout=10, check=True
        ).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None
    state: dict[str, Any] = dict(
        zip(FIELDS, (value.strip() for value in line.split(",")), strict=False)
    )
    for name in ("sm_clock_mhz", "memory_clock_mhz", "power_watt", "temperature_celsius"):
        state[name] = _number(state.get(name, ""))
    reasons = state.get("throttle_reasons", "")
    state["throttle_reasons"] = int(reasons, 16) if reasons.startswith("0x") else None
    return state


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
