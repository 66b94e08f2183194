"""Fixtures of the hostile cases."""

import importlib
import sys
from pathlib import Path

import pytest

from tests.hostile import harness
from tests.hostile.inputs import INPUTS

for module in sorted(Path(__file__).parent.glob("inputs_*.py")):  # each adds files to INPUTS
    importlib.import_module(f"tests.hostile.{module.stem}")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """Return the folder of hostile input files."""
    for program in ("program", "service_program"):
        importlib.import_module(f"lapsd.sim.engine.compiled.{program}")  # the first import says so
    folder = tmp_path_factory.mktemp("inputs")
    for name, make in INPUTS.items():
        make(folder / name)
    return folder


@pytest.fixture(autouse=True)
def _forget_modules(tmp_path):
    """Forget the modules that a test imports from its folder; the next one may use their names."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def run(inputs, tmp_path, monkeypatch, capsys):
    """Return a function that runs a case in an empty folder and checks how it ends."""
    monkeypatch.chdir(tmp_path)
    return lambda case: harness.check(case, inputs, tmp_path, capsys)
