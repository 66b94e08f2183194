"""The wheel, installed without torch where nothing else is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode and "Could not find a version" in done.stderr and "NewConnectionError" in done.stderr:
        pytest.skip("no package registry can be reached from here")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_compares_policies_on_bundled_data_without_torch(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    ignored = shutil.ignore_patterns(".*", "build", "demo", "reference-training")
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=ignored)
    run(*pip, "--no-build-isolation", "--wheel-dir", tmp_path, source, cwd=tmp_path)
    wheel = next(tmp_path.glob("lapsd-*.whl"))
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lapsd = python.with_name("lapsd")
    table = run(lapsd, "compare", "--seeds", "2", "--out", "result", cwd=elsewhere)
    assert "laps-sd" in table
    assert (elsewhere / "result" / "requests.parquet").is_file()
    missing = subprocess.run([lapsd, "calibrate"], capture_output=True, text=True, cwd=elsewhere)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "lapsd[calibrate]" in missing.stderr
    shipped = next((tmp_path / "empty").glob("lib/python*/site-packages/calibrate/reference/data"))
    for name in ("target/model.safetensors", "draft/model.safetensors", "target/tokenizer.json", "MODEL_CARD.md"):
        assert (shipped / name).is_file(), name
    for template in ("claims.md.j2", "report.html.j2"):
        assert (shipped.parents[2] / "sim" / "reproduce" / "templates" / template).is_file()
