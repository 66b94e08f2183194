"""Tests of reading the state of a GPU, with fakes of the driver's two interfaces."""

import subprocess
import sys
import types

from lapsd.calibrate.timing.gpu_state import gpu_state, held_back_ns, holds_back

LINE = "1980, 2619, 412.25, 51, 0x0000000000000004, 580.1"


def test_gpu_state_returns_none_without_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu_state() is None
    assert not holds_back(None)


def test_nvidia_smi_is_used_without_the_python_binding(monkeypatch):
    asked = []

    def run(command, **options):
        asked.append(command)
        return types.SimpleNamespace(stdout=LINE + "\n")

    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(subprocess, "run", run)
    state = gpu_state()
    assert state["power_watt"] == 412.25
    assert state["driver"] == "580.1"
    assert holds_back(state)  # 4: the power limit
    assert not holds_back(state | {"throttle_reasons": 1})  # idle
    assert asked[0][0] == "nvidia-smi"
    # no option changes a setting
    assert all(a.startswith(("--id", "--query-gpu", "--format")) for a in asked[0][1:])


def test_the_python_binding_is_used_first_and_its_errors_are_caught(monkeypatch):
    class NVML(types.ModuleType):
        NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

        def __getattr__(self, name):
            answers = {
                "Version": b"580.1",
                "Usage": 300_000,
                "Reasons": 0,
                "Clock": 1_980,
                "Temperature": 50,
            }
            return lambda *_: next((v for k, v in answers.items() if k in name), None)

    monkeypatch.setitem(sys.modules, "pynvml", NVML("pynvml"))
    state = gpu_state()
    assert state["driver"] == "580.1"
    assert state["power_watt"] == 300.0
    assert not holds_back(state)
    assert held_back_ns() is None  # this fake has no counters
    broken = types.ModuleType("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu_state() is None


def test_times_of_limited_clocks_are_read_for_each_limit(monkeypatch):
    binding = types.ModuleType("pynvml")
    binding.nvmlInit = lambda: None
    binding.nvmlDeviceGetHandleByIndex = lambda index: index
    binding.nvmlDeviceGetViolationStatus = lambda handle, policy: types.SimpleNamespace(
        violationTime=10 * policy
    )
    monkeypatch.setitem(sys.modules, "pynvml", binding)
    assert held_back_ns() == {"power": 0, "thermal": 10, "board": 30, "reliability": 50}
