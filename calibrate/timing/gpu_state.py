"""What a GPU is doing: clocks, power, temperature, what holds it back. Only ever read."""

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
# bits of NVML's throttle reasons that slow a busy GPU down; idle (1) and set application clocks (2)
# do not count
HOLDING_BACK = 0xFC


def gpu_state(index: int = 0) -> dict[str, Any] | None:
    """The state of one GPU by NVML, or by nvidia-smi where the Python binding is missing; None
    without either.
    """
    return _by_nvml(index) or _by_nvidia_smi(index)


# NVML's counters of the time that a limit held the clocks below what was asked for
POLICIES = {"power": 0, "thermal": 1, "board": 3, "reliability": 5}


def held_back_ns(index: int = 0) -> dict[str, int] | None:
    """Time since the driver was loaded that each limit held the clocks back; None where nobody
    counts.

    What a stretch of work was held back by is the difference of two readings: a state read after it
    may tell of nothing.
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
    """Whether power, heat or the hardware limits the clocks."""
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
    except Exception:  # no binding, no driver, or a reading that this GPU does not give
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
