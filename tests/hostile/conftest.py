"""Fixtures of the hostile cases."""

from pathlib import Path

import pytest

from tests.hostile import harness
from tests.hostile.inputs import INPUTS


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """Return the folder of hostile input files."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, make in INPUTS.items():
        make(folder / name)
    return folder


@pytest.fixture
def run(inputs, tmp_path, monkeypatch, capsys):
    """Return a function that runs a case in an empty folder and checks how it ends."""
    monkeypatch.chdir(tmp_path)
    return lambda case: harness.check(case, inputs, tmp_path, capsys)
