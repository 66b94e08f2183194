"""The wheel in an environment of its own, without torch."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
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


def required(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Add an installed distribution and all that it requires, without extras, to `found`."""
    if name not in found:
        found[name] = distribution(name)
        for line in found[name].requires or []:
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                required(one.name.lower(), found)
    return found


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Return the Python of a new environment that holds the wheel and `traces` of PyPI.

    Their requirements are links to the packages of this environment: of the ones that the wheel
    names, and no others. `test_the_wheel_installs_with_its_requirements` installs them.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    theirs = ["traces==0.7.0", "sortedcontainers", "--constraint", ROOT / "constraints.txt"]
    run(*pip, "--no-compile", wheel, *theirs, cwd=folder)
    site = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as packed:
        metadata = next(n for n in packed.namelist() if n.endswith(".dist-info/METADATA"))
        lines = packed.read(metadata).decode().splitlines()
    found: dict[str, Distribution] = {}
    for line in lines:
        if line.startswith("Requires-Dist: ") and "extra ==" not in line:
            required(Requirement(line.removeprefix("Requires-Dist: ")).name.lower(), found)
    for one in found.values():
        for top in {f.parts[0] for f in one.files or [] if f.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(one.locate_file(top))))
    return python


@pytest.mark.deep
def test_the_wheel_installs_with_its_requirements(wheel, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "environment", cwd=tmp_path)
    python = tmp_path / "environment" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    run(*pip, wheel, cwd=tmp_path)
    assert "laps-sd" in run(python.with_name("lapsd"), "compare", "--seeds", "2", cwd=tmp_path)


def test_no_file_of_the_wheel_is_above_5_mb_but_the_weights_of_the_pair(wheel):
    with zipfile.ZipFile(wheel) as packed:
        large = [file.filename for file in packed.infolist() if file.file_size > 5_000_000]
    assert large == ["lapsd/calibrate/reference/data/target/model.safetensors"]


def test_the_wheel_compares_policies_on_bundled_data_without_torch_and_hides_no_other_package(
    python, tmp_path
):
    """`traces` is another project's package on PyPI; both stay importable, and no bare name is
    ours. Numba compiles nothing here: that would take half a minute in each new environment.
    """
    interpreted = {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": ""}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "traces.py").write_text("raise ImportError('a file of the user')")
    lapsd = python.with_name("lapsd")
    few = ("--seeds", "2", "--requests", "5", "--out", "result")
    table = run(lapsd, "compare", *few, cwd=elsewhere, **interpreted)
    assert "laps-sd" in table
    assert (elsewhere / "result" / "requests.parquet").is_file()
    plain = os.environ | interpreted
    missing = subprocess.run(
        [lapsd, "calibrate"], capture_output=True, text=True, cwd=elsewhere, env=plain
    )
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "lapsd[calibrate]" in missing.stderr
    theirs = run(
        python,
        "-c",
        "import traces, lapsd.traces; print(traces.TimeSeries)",
        cwd=tmp_path,
        **interpreted,
    )
    assert "traces.timeseries" in theirs
    for bare in ("sim", "policies", "predict", "calibrate", "serve", "papers"):
        done = subprocess.run(
            [python, "-c", f"import {bare}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=plain,
        )
        assert f"No module named '{bare}'" in done.stderr
    shipped = next(python.parents[1].glob("lib/python*/site-packages/lapsd"))
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
