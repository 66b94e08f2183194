"""The wheel in an environment of its own, without torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    if (
        done.returncode
        and "Could not find a version" in done.stderr
        and "NewConnectionError" in done.stderr
    ):
        pytest.skip("no package registry can be reached from here")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--quiet",
        "--no-deps",
    ]
    ignored = shutil.ignore_patterns(".*", "build", "demo", "reference-training")
    source = shutil.copytree(ROOT, folder / "source", ignore=ignored)
    run(*pip, "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
    return next(folder.glob("lapsd-*.whl"))


def environment(folder: Path, *packages: object) -> Path:
    """Return the Python of a new environment with these packages and their requirements."""
    run(sys.executable, "-m", "venv", folder / "environment", cwd=folder)
    python = folder / "environment" / "bin" / "python"
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        ROOT / "constraints.txt",
        *packages,
        cwd=folder,
    )
    return python


def test_the_wheel_compares_policies_on_bundled_data_without_torch_and_hides_no_other_package(
    wheel, tmp_path
):
    """`traces` is another project's package on PyPI; both stay importable, and no bare name is
    ours.
    """
    python = environment(tmp_path, "traces==0.7.0", wheel)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "traces.py").write_text("raise ImportError('a file of the user')")
    lapsd = python.with_name("lapsd")
    table = run(lapsd, "compare", "--seeds", "2", "--out", "result", cwd=elsewhere)
    assert "laps-sd" in table
    assert (elsewhere / "result" / "requests.parquet").is_file()
    missing = subprocess.run([lapsd, "calibrate"], capture_output=True, text=True, cwd=elsewhere)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "lapsd[calibrate]" in missing.stderr
    theirs = run(
        python, "-c", "import traces, lapsd.traces; print(traces.TimeSeries)", cwd=tmp_path
    )
    assert "traces.timeseries" in theirs
    for bare in ("sim", "policies", "predict", "calibrate", "serve", "papers"):
        done = subprocess.run(
            [python, "-c", f"import {bare}"], capture_output=True, text=True, cwd=tmp_path
        )
        assert f"No module named '{bare}'" in done.stderr
    shipped = next((tmp_path / "environment").glob("lib/python*/site-packages/lapsd"))
    for name in (
        "target/model.safetensors",
        "draft/model.safetensors",
        "target/tokenizer.json",
        "MODEL_CARD.md",
    ):
        assert (shipped / "calibrate" / "reference" / "data" / name).is_file(), name
    for template in ("claims.md.j2", "report.html.j2"):
        assert (shipped / "papers" / "templates" / template).is_file()
    assert (shipped / "py.typed").is_file()


def test_importing_lapsd_takes_no_library_and_its_names_are_the_documented_surface():
    import lapsd

    loaded = (
        "import sys, lapsd; print({'numpy', 'pandas', 'simpy'} & set(sys.modules),"
        " lapsd.compare.__module__)"
    )
    assert run(sys.executable, "-c", loaded, cwd=ROOT).split() == [
        "set()",
        "lapsd.sim.experiment.comparison",
    ]
    assert dir(lapsd) == lapsd.__all__
    assert all(getattr(lapsd, name) is not None for name in lapsd.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lapsd.nothing  # noqa: B018
