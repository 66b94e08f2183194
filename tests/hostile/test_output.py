"""Result folders that are damaged, foreign, unfinished or in use, and outputs over other files."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lapsd import load_trace
from lapsd.calibrate.journal import Journal
from lapsd.serve.validation.folder import Folder
from lapsd.serve.validation.live_runs import LiveRuns
from lapsd.sim.sweeps import Sweep, best, folders as sweep_folders, grid, read_sweep, resume, sweep
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.folders import IncompleteSweep
from lapsd.sim.sweeps.parts import DamagedPart, read_part
from lapsd.traces import save_trace
from lapsd.traces.errors import DONE
from lapsd.traces.files import only_writer
from tests.hostile import folders
from tests.hostile.folders import description, flipped, part, taken
from tests.hostile.harness import Case, digests, each

QUICK = "--requests 3 --seeds 1 --policy fcfs"
REPRODUCE = "reproduce --quick --out s --trace t.parquet --profile p.json"
CHANGES = [
    part(folders.emptied),
    part(folders.cut, 0),
    part(folders.rewritten),
    part(folders.of_its_neighbour, 2),
    part(folders.of_another_sweep),
    part(folders.of_another_sweep, 3),
    *(part(flipped(share), 2) for share in (0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)),
]

DAMAGED = [
    Case(f"{verb} s", "damaged or foreign", given=change)
    for change in CHANGES
    for verb in ("show", "best")
]
DESCRIPTIONS = [
    Case(f"{verb} s", says, given=description(text))
    for text, says in (
        ("", "_sweep.json: not JSON"),
        ("[1]", "_sweep.json: not a JSON object"),
        ('{"sweep": 3}', "_sweep.json: describes no sweep"),
        ('{"sweep": {}, "sha256": "0"}', "does not match its digest"),
        ("[" * 100_000, "_sweep.json: not JSON"),
    )
    for verb in ("show", "best", "sweep --resume")
]
STRANGE = [
    Case(f"{verb} s", "belongs to no chunk of this sweep", given=part(folders.of_its_neighbour, 9))
    for verb in ("show", "best")
] + [Case("show s", "part-000001.parquet: is a folder", given=part(folders.a_folder))]


@each(DAMAGED + DESCRIPTIONS + STRANGE)
def test_a_damaged_or_foreign_file_of_a_sweep_is_named(case, run):
    run(case)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_resuming_runs_a_damaged_or_foreign_part_again(change, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "RUNS_PER_CHUNK", 2)
    folders.sweep(tmp_path)
    before = digests(tmp_path)
    shutil.rmtree(tmp_path / "s")
    change(tmp_path)
    with pytest.warns(DamagedPart, match=r"part-00000\d.parquet: damaged or foreign"):
        resume(tmp_path / "s", workers=1)
    assert digests(tmp_path) == before


def test_no_flipped_bit_of_a_part_goes_unnoticed(tmp_path):
    folders.sweep(tmp_path)
    path = tmp_path / "s" / "part-000001.parquet"
    sweep, whole, rng = (
        sweep_folders.read_asked(tmp_path / "s")["sha256"],
        path.read_bytes(),
        random.Random(0),
    )
    read_part(path, sweep)
    for _ in range(400):
        content = bytearray(whole)
        content[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged or foreign"):
            read_part(path, sweep)


UNFINISHED = [
    Case("show s", "s: 2 of 10 runs are missing", DONE, folders.sweep_without_a_part),
    Case("best s --json", "s: 2 of 10 runs are missing", DONE, folders.sweep_without_a_part),
    Case("show s", "an unfinished sweep is to replace this one", DONE, folders.replaced_sweep),
    Case("show s", "holds a validation, unfinished", given=folders.unfinished_validation),
    Case("show s", "holds a reproduction, unfinished", given=folders.reproduction),
    Case("best s", "holds no sweep", given=folders.reproduction),
    Case("show s", "holds no sweep", given=folders.notes),
]


@each(UNFINISHED)
def test_what_is_unfinished_is_said(case, run):
    run(case)


OTHERS = (
    folders.sweep,
    folders.comparison,
    folders.unfinished_validation,
    folders.reproduction,
    folders.notes,
)
OCCUPIED = [
    Case(f"{command} --out s {more}".strip(), "s ", given=given)
    for command, own in (
        (f"compare {QUICK}", folders.comparison),
        (f"sweep {QUICK}", folders.sweep),
        ("reproduce --quick", folders.reproduction),
    )
    for given in OTHERS
    for more in ("", "--overwrite")
    if given is not own or not more
]


@each(OCCUPIED)
def test_a_folder_with_something_else_is_left_alone(case, run):
    run(case)


OVER_FILES = [
    Case(f"{command} {option} {name}", says, given=given)
    for command, option, name, given, says in (
        (f"compare {QUICK}", "--plot", "a.png", taken("a.png"), "a.png exists already"),
        (f"compare {QUICK}", "--gantt", "a.svg", taken("a.svg"), "a.svg exists already"),
        (f"compare {QUICK}", "--timeline", "a.json", taken("a.json"), "a.json exists already"),
        ("show t.parquet", "--plot", "a.pdf", taken("a.pdf"), "a.pdf exists already"),
        ("show p.json", "--plot", "a.pdf", taken("a.pdf"), "a.pdf exists already"),
        ("generate --requests 3", "-o", "t.parquet", taken(), "t.parquet exists already"),
    )
] + [
    Case(f"{command} --overwrite", "is an input, which is never written over", given=given)
    for command, given in (
        (f"compare {QUICK} --profile p.json --timeline p.json", taken()),
        (f"compare {QUICK} --profile ./p.json --timeline p.json", taken()),
        (f"compare {QUICK} --trace a.png --plot a.png", taken("a.png")),
        (f"compare {QUICK} --trace a.png --gantt a.png", taken("a.png")),
        (f"compare {QUICK} --arrivals a.png --rate 1 --plot a.png", taken("a.png")),
        ("show a.png --plot a.png", taken("a.png")),
        ("show p.json --trace a.svg --plot a.svg", taken("a.svg")),
        ("generate --trace t.parquet -o t.parquet", taken()),
        ("generate --lengths t.parquet -o t.parquet", taken()),
        ("import azure a.csv -o a.csv", taken("a.csv")),
    )
] + [
    Case(f"compare {QUICK} --plot a.png --gantt a.png", "is the file of --plot too"),
    Case(f"compare {QUICK} --plot a.png --gantt ./a.png", "is the file of --plot too"),
    *(
        Case(f"compare {QUICK} --out s {option} --overwrite", "is a file of --out s", given=made)
        for option in ("--plot s/_latency.png", "--timeline s/_config.json")
        for made in (folders.comparison,)
    ),
    Case(f"compare {QUICK} --plot no/a.png", "there is no folder no"),
    Case(f"compare {QUICK} --timeline p.json/a.json", "there is no folder p.json", given=taken()),
]  # fmt: skip


@each(OVER_FILES)
def test_no_output_is_written_over_another_file(case, run):
    run(case)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_an_input_under_another_name_is_not_written_over(link, run):
    def given(folder: Path) -> None:
        folders.copies(folder)
        getattr(folder / "other.json", link)(folder / "p.json")

    command = f"compare {QUICK} --profile p.json --timeline other.json --overwrite"
    run(Case(command, "is an input", given=given))


@pytest.mark.parametrize(
    ("command", "given"),
    [
        (f"compare {QUICK} --out s", folders.comparison),
        (f"compare {QUICK} --out s --overwrite", folders.comparison),
        (f"sweep {QUICK} --out s --overwrite", folders.sweep),
        ("sweep --resume s", folders.sweep_without_a_part),
        (f"{REPRODUCE} --resume", folders.reproduction),
        ("reproduce --quick --out s --overwrite", folders.reproduction),
        ("calibrate --out s --overwrite", folders.notes),
    ],
)  # fmt: skip
def test_a_folder_has_one_writer(command, given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given(tmp_path)
    before = digests(tmp_path)
    with only_writer(tmp_path / "s"):
        claim = json.loads((tmp_path / "s" / ".writer").read_text())
        assert claim["process"] == os.getpid()
        capsys.readouterr()
        assert folders.lapsd(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"s: process {os.getpid()} on {claim['host']}, started" in error
    assert digests(tmp_path) == before


def test_the_claim_of_a_dead_process_claims_nothing(tmp_path):
    claim = {"host": "elsewhere", "process": 1, "started": "2020-01-01T00:00:00+00:00"}
    (tmp_path / ".writer").write_text(json.dumps(claim))
    with (
        only_writer(tmp_path),
        pytest.raises(ValueError, match="writes there"),
        only_writer(tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


CHANGED_INPUTS = [
    (f"sweep {QUICK} --trace t.parquet", "t.parquet", "trace_sha256 was"),
    (f"sweep {QUICK} --profile p.json", "p.json", "profile_sha256 was"),
    (f"sweep {QUICK} --policy mine.Mine", "mine.py", "policy_sha256 was"),
    (f"sweep {QUICK} --policy mine.Mine", "base.py", "policy_sha256 was"),
]
MINE = """from dataclasses import dataclass
from base import Base

@dataclass(frozen=True)
class Mine(Base):
    name = "mine.Mine"
"""
BASE = "from lapsd.policies import FCFS\n\nclass Base(FCFS):\n    pass\n"


@pytest.mark.parametrize(("command", "changed", "says"), CHANGED_INPUTS)
def test_a_sweep_is_not_resumed_with_other_inputs(
    command, changed, says, run, tmp_path, monkeypatch
):
    folders.copies(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "base.py").write_text(BASE)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for name in ("mine", "base"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    run(Case(f"{command} --out s --workers 1", code=DONE))
    _change(tmp_path / changed)
    run(Case("sweep --resume s", says))


def _change(path: Path) -> None:
    """Change a trace, a profile or a source file, so that it can still be read."""
    if path.suffix == ".parquet":
        save_trace(load_trace(path).take(range(100)), path)
    else:
        path.write_text(path.read_text() + "\n")


@pytest.mark.parametrize(
    ("changed", "says"), [("t.parquet", "trace_sha256 was"), ("p.json", "profile_sha256 was")]
)
def test_a_reproduction_is_not_resumed_with_other_inputs(changed, says, run, tmp_path):
    def given(folder: Path) -> None:
        folders.reproduction(folder)
        _change(folder / changed)

    for verb in ("--resume", "--draw-only"):
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        run(Case(f"{REPRODUCE} {verb}", says, given=given))


@pytest.mark.parametrize("name", ["trace_sha256", "quick", "dtype", "engine", "clock", "target"])
def test_a_validation_is_not_resumed_with_other_settings(name, tmp_path):
    was = {"command": "a", "trace_sha256": "1", "quick": False, "dtype": "auto", "engine": "own"}
    Folder(tmp_path / "v", was, overwrite=False, resume=False)
    Folder(tmp_path / "v", {**was, "command": "b"}, overwrite=False, resume=True)
    with pytest.raises(ValueError, match=f"holds another validation: {name} was .*, and is"):
        Folder(tmp_path / "v", {**was, name: "other"}, overwrite=False, resume=True)


class FullDisk:
    """Lets some files be written, and then none."""

    def __init__(self, left: int) -> None:
        self.left, self.fsync = left, os.fsync

    def __call__(self, file: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.fsync(file)


@pytest.mark.parametrize(
    ("command", "given", "left"),
    [
        *((f"compare {QUICK} --out s --overwrite", folders.comparison, n) for n in range(3)),
        *((f"sweep {QUICK} --out s --overwrite --workers 1", folders.sweep, n) for n in range(3)),
        ("reproduce --quick --out s --overwrite", folders.reproduction, 0),
        (f"compare {QUICK} --plot a.png --overwrite", taken("a.png"), 0),
        (f"compare {QUICK} --gantt a.png --overwrite", taken("a.png"), 0),
        (f"compare {QUICK} --timeline a.json --overwrite", taken("a.json"), 0),
        ("show t.parquet --plot a.png --overwrite", taken("a.png"), 0),
    ],
)
def test_a_full_disk_loses_no_old_result(command, given, left, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given(tmp_path)
    before = digests(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("lapsd.traces.files.writing.os.fsync", FullDisk(left))
        assert folders.lapsd(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lapsd: ")
    assert error.endswith("No space left on device")
    after = digests(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert not [p for p in tmp_path.rglob(".*") if p.is_file()]


def test_a_short_write_is_an_error(tmp_path):
    """The limit on the size of a file cuts the figure in a real write."""
    folders.copies(tmp_path)
    (tmp_path / "a.png").write_text("mine")
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
        "from lapsd.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "show", "t.parquet", "--plot", "a.png", "--overwrite"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "lapsd: a.png: File too large\n"
    assert (tmp_path / "a.png").read_text() == "mine"


def test_a_figure_that_fails_loses_no_record(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def fail(*figure: object) -> None:
        raise ValueError("the figure fails")

    monkeypatch.setattr("lapsd.cli.compare.save_figure", fail)
    assert folders.lapsd(f"compare {QUICK} --out s") == 2
    stdout, stderr = capsys.readouterr()
    assert stderr == "lapsd: the figure fails\n"
    assert "fcfs" in stdout
    assert (tmp_path / "s" / "requests.parquet").is_file()


def test_a_journal_stays_until_the_new_one_is_written(tmp_path, monkeypatch):
    Journal(tmp_path, {"seed": 0}, resume=False).close()
    before = digests(tmp_path)
    monkeypatch.setattr("lapsd.traces.files.writing.os.fsync", FullDisk(0))
    with pytest.raises(OSError, match="No space left"):
        Journal(tmp_path, {"seed": 1}, resume=False)
    assert digests(tmp_path) == before


def test_a_replaced_result_leaves_no_file(run, tmp_path):
    run(Case(f"sweep {QUICK} --out s --workers 1 --overwrite", code=DONE, given=folders.sweep))
    names = ["_sweep.json", "_sweep.toml", "part-000000.parquet"]
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == names
    (tmp_path / "c").mkdir()
    given = folders.comparison
    run(Case(f"compare {QUICK} --out c/s --overwrite", code=DONE, given=lambda f: given(f / "c")))
    assert b"old" not in {path.read_bytes() for path in (tmp_path / "c" / "s").iterdir()}
    assert len(list((tmp_path / "c" / "s").iterdir())) == 4


def test_an_interrupted_replacement_is_resumed(tmp_path, monkeypatch):
    folders.replaced_sweep(tmp_path)
    monkeypatch.setattr(grid, "RUNS_PER_CHUNK", 2)
    assert len(resume(tmp_path / "s", workers=1)) == 4
    assert read_sweep(tmp_path / "s")["requests"].tolist() == [2] * 4
    assert not [path for path in (tmp_path / "s").iterdir() if path.name.startswith(".")]
    assert best(read_sweep(tmp_path / "s"))


def test_a_tilde_is_meant_literally(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    run(Case(f"compare {QUICK} --out=~/x", code=DONE))
    assert (tmp_path / "~" / "x" / "requests.parquet").is_file()
    save_trace(load_trace("reference"), "~/t.parquet")
    run(Case(f"sweep {QUICK} --trace ~/t.parquet --workers 1 --out=~/s", code=DONE))
    run(Case("show ~/s", code=DONE))
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.parametrize("name", [r"$\frac{", "$a$ $$"])
def test_a_dollar_in_a_name_is_drawn(name, run, tmp_path):
    trace = load_trace("reference")
    known = replace(trace.provenance, source=name)
    renamed = [name if dataset == "code" else dataset for dataset in trace.dataset]
    save_trace(replace(trace, dataset=renamed, provenance=known), tmp_path / "t.parquet")
    run(Case("show t.parquet --plot a.png", code=DONE))
    run(Case(f"compare {QUICK} --trace t.parquet --plot b.png --gantt c.svg", code=DONE))


def test_parameters_of_two_types_do_not_share_a_column(run, tmp_path, monkeypatch):
    for name, value in (("one", "k: int = 1"), ("two", 'k: str = "a"')):
        (tmp_path / f"{name}.py").write_text(
            "from dataclasses import dataclass\nfrom lapsd.policies import FCFS\n\n"
            f'@dataclass(frozen=True)\nclass Mine(FCFS):\n    name = "{name}.Mine"\n    {value}\n'
        )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    command = "sweep --requests 3 --seeds 1 --policy one.Mine --policy two.Mine --out s"
    run(Case(command, "parameter 'k': is of the types int and str"))


def test_an_input_that_changes_while_a_sweep_runs_is_noticed(tmp_path, monkeypatch):
    folders.copies(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = ChunkRunner.load(Sweep(("fcfs",), settings={"trace": ("t.parquet",)}, seeds=1))
    _change(tmp_path / "t.parquet")
    make, arguments = made.recipe
    with pytest.raises(ValueError, match="a trace, profile or policy changed while the sweep"):
        make(*arguments).run(made.chunks[0])


def test_a_finished_sweep_with_stopped_scenarios_lacks_nothing(tmp_path, recwarn):
    sweep(
        tmp_path / "s",
        ["fcfs", "lp-sjf"],
        requests=3,
        load=[0.3, 0.9],
        seeds=51,
        until_ci=0.99,
        workers=1,
    )
    assert not [w for w in recwarn if issubclass(w.category, IncompleteSweep)]
    (tmp_path / "s" / "_looks.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"_looks.json: is damaged"):
        read_sweep(tmp_path / "s")


def test_live_runs_under_another_name_are_refused(tmp_path):
    folder = Folder(tmp_path / "v", {}, overwrite=False, resume=False)
    folder.keep(LiveRuns(0.5, 1, (), (), ()))
    runs = tmp_path / "v" / "_runs"
    shutil.copyfile(runs / "load-0.5-seed-1.json.gz", runs / "load-0.5-seed-2.json.gz")
    with pytest.raises(ValueError, match=r"seed-2.json.gz: holds the runs of load 0.5 and seed 1"):
        folder.done(0.5, 2)
