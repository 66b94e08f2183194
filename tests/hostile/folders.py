"""Result folders that hostile cases start from. Each kind is made once and copied."""

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from lapsd import cli, load_profile, load_trace
from lapsd.papers.folder import claim
from lapsd.papers.inputs import Inputs
from lapsd.papers.laps_sd.paper import LAPS_SD
from lapsd.serve.validation.folder import Folder
from lapsd.sim.experiment.results import COMPARISON
from lapsd.sim.sweeps import execution, grid
from lapsd.traces.errors import run_command
from lapsd.traces.files import replacing

SMALL = "--requests 3 --seeds 5 --policy fcfs --policy laps-sd --workers 1"
_TEMPORARY = tempfile.TemporaryDirectory()
Given = Callable[[Path], object]


def lapsd(command: str) -> int:
    """Run a command line in this process."""
    return run_command("lapsd", lambda: cli.app(command.split(), standalone_mode=False))


@cache
def sweep_of(options: str) -> Path:
    """Return a folder with a sweep in parts of two runs each."""
    folder = Path(tempfile.mkdtemp(dir=_TEMPORARY.name)) / "s"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(grid, "RUNS_PER_CHUNK", 2)
        assert lapsd(f"sweep --out {folder} {options}") == 0
    return folder


def sweep(folder: Path) -> None:
    """Put a finished sweep of five parts into the folder `s`."""
    shutil.copytree(sweep_of(SMALL), folder / "s")


def sweep_without_a_part(folder: Path) -> None:
    """Put a sweep that lacks a part into the folder `s`."""
    sweep(folder)
    (folder / "s" / "part-000001.parquet").unlink()


def replaced_sweep(folder: Path) -> None:
    """Put a finished sweep into the folder `s`, and another one that is to replace it."""
    sweep(folder)
    with pytest.MonkeyPatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(grid, "RUNS_PER_CHUNK", 2)
        patched.setattr(execution, "write_part", _interrupt)
        execution.sweep(folder / "s", ["fcfs"], requests=2, seeds=4, workers=1, overwrite=True)


def _interrupt(*part: object) -> None:
    raise KeyboardInterrupt


def part(change: Callable[[Path], object], number: int = 1) -> Given:
    """Return a function that makes a sweep with a changed part."""

    def given(folder: Path) -> None:
        sweep(folder)
        change(folder / "s" / f"part-{number:06d}.parquet")

    given.__name__ = f"{change.__name__.strip('<>')} {number}"
    return given


def flipped(share: float) -> Callable[[Path], object]:
    """Return a function that flips one bit at a share of a file's length."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(share * (len(content) - 1))] ^= 1 << int(share * 1000) % 8
        path.write_bytes(content)

    flip.__name__ = f"flip at {share}"
    return flip


def emptied(path: Path) -> None:
    """Make the part empty."""
    path.write_bytes(b"")


def cut(path: Path) -> None:
    """Keep the first half of the part."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def rewritten(path: Path) -> None:
    """Change a number of the part with pandas."""
    pd.read_parquet(path).assign(mean_latency_s=1.0).to_parquet(path, index=False)


def a_folder(path: Path) -> None:
    """Replace the part by a folder."""
    path.unlink()
    path.mkdir()


def of_its_neighbour(path: Path) -> None:
    """Replace the part by the one before it."""
    shutil.copyfile(path.with_name("part-000000.parquet"), path)


def of_another_sweep(path: Path) -> None:
    """Replace the part by one of another sweep of the same shape."""
    shutil.copyfile(sweep_of(SMALL.replace("3", "4", 1)) / path.name, path)


def described(change: Callable[[dict], object], name: str = "_sweep.json") -> Given:
    """Return a function that makes a sweep with another description."""

    def given(folder: Path) -> None:
        sweep(folder)
        document = json.loads((folder / "s" / name).read_text())
        change(document)
        (folder / "s" / name).write_text(json.dumps(document))

    return given


def description(text: str) -> Given:
    """Return a function that makes a sweep with this text as its description."""

    def given(folder: Path) -> None:
        sweep(folder)
        (folder / "s" / "_sweep.json").write_text(text)

    given.__name__ = text[:20]
    return given


def comparison(folder: Path) -> None:
    """Put the files of a comparison into the folder `s`."""
    with replacing(folder / "s", COMPARISON, overwrite=False) as new:
        for name in COMPARISON.files:
            (new / name).write_text("old")


def unfinished_validation(folder: Path) -> None:
    """Begin a validation in the folder `s`."""
    Folder(folder / "s", {"command": "lapsd validate"}, overwrite=False, resume=False)


def reproduction(folder: Path) -> None:
    """Begin a reproduction on a trace and a profile of the folder, in the folder `s`."""
    copies(folder)
    names = "t.parquet", "p.json"
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        inputs = Inputs(*names, load_trace(names[0]), load_profile(names[1]))
        claim(Path("s"), LAPS_SD, inputs, LAPS_SD.quick, overwrite=False, resume=False)


def copies(folder: Path) -> None:
    """Put copies of the bundled trace and profile into the folder."""
    from lapsd.traces.files import BUNDLED

    shutil.copyfile(BUNDLED / "reference.parquet", folder / "t.parquet")
    shutil.copyfile(BUNDLED / "reference.json", folder / "p.json")


def notes(folder: Path) -> None:
    """Put a user's own file into the folder `s`."""
    (folder / "s").mkdir()
    (folder / "s" / "notes.txt").write_text("mine")


def taken(*names: str) -> Given:
    """Return a function that puts files of these names into the folder, with the two copies."""

    def given(folder: Path) -> None:
        copies(folder)
        for name in names:
            (folder / name).write_text("mine")

    given.__name__ = f"taken {' '.join(names)}"
    return given
