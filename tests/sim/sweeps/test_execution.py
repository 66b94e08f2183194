"""Sweeps give the same records with any number of workers, and after kills, interrupts, errors."""

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

from lapsd import compare
from lapsd.policies import LapsSD
from lapsd.sim.sweeps import best, execution, folders, grid, read_sweep, resume, sweep
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.execution import finish
from lapsd.sim.sweeps.parts import DamagedPart
from lapsd.traces import load_profile, load_trace
from tests.compilation import IN_PYTHON

GRID = {"policies": ["laps-sd", "fcfs"], "parameters": {"K": ["2:5"]}}
SMALL = {**GRID, "requests": [5, 8], "dataset": ["code", "all"], "seeds": 4}
# runs a sweep of some seconds in sixty chunks; the tests kill it
SCRIPT = """
import sys
import lapsd.sim.sweeps.grid as grid
grid.RUNS_PER_CHUNK = 45
from lapsd.cli import main
if __name__ == "__main__":
    main()
"""
LONG = [
    "--policy",
    "laps-sd",
    "--K",
    "2:4",
    "--M",
    "1.5,2,4",
    "--requests",
    "1,2" if IN_PYTHON else "100,200",
    "--seeds",
    "150",
    "--workers",
    "2",
]


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch):
    monkeypatch.setattr(grid, "RUNS_PER_CHUNK", 7)


def in_order(records: pd.DataFrame) -> pd.DataFrame:
    return records.sort_values(["policy", "dataset", "requests", "seed"], ignore_index=True)


def test_records_do_not_depend_on_the_number_of_workers(tmp_path):
    alone = sweep(tmp_path / "alone", **SMALL, workers=1)
    together = sweep(tmp_path / "together", **SMALL, workers=2)
    pd.testing.assert_frame_equal(alone, together)
    assert len(alone) == 5 * 2 * 2 * 4
    assert not alone.duplicated(["policy", "dataset", "requests", "seed"]).any()
    pd.testing.assert_frame_equal(in_order(pd.read_parquet(tmp_path / "alone")), in_order(alone))


def test_a_record_equals_the_run_of_a_comparison(tmp_path):
    records = sweep(
        tmp_path / "s",
        ["laps-sd:K=3"],
        seeds=3,
        requests=12,
        load=0.7,
        length_predictor="noisy:0.5",
    )
    found = compare(
        load_trace("reference"),
        load_profile("reference"),
        [LapsSD(K=3)],
        requests=12,
        load=0.7,
        seeds=3,
        length_predictor="noisy:0.5",
    )
    runs = found.runs[found.runs["policy"] == "laps-sd:K=3"]
    for column in ("mean_latency_s", "bound_s", "preemptions", "utilisation", "realised_load"):
        assert records[column].tolist() == runs[column].tolist()
    assert records["K"].tolist() == [3, 3, 3]
    assert records["trace_sha256"].str.len().tolist() == [64] * 3


@contextlib.contextmanager
def interrupted_after(count, monkeypatch):
    """Interrupt the sweep in the with-block before it writes part number `count` + 1."""
    written = execution.write_part

    def fails(folder, *part):
        if len(list(folder.glob("part-*"))) == count:
            raise KeyboardInterrupt
        written(folder, *part)

    with monkeypatch.context() as patched:
        patched.setattr(execution, "write_part", fails)
        with pytest.raises(KeyboardInterrupt):
            yield


def test_a_stopped_sweep_resumes_with_the_missing_parts(tmp_path, monkeypatch):
    whole = sweep(tmp_path / "whole", **SMALL, workers=1)
    with interrupted_after(3, monkeypatch):
        sweep(tmp_path / "stopped", **SMALL, workers=1)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "stopped").glob("part-*")}
    assert len(before) == 3
    pd.testing.assert_frame_equal(resume(tmp_path / "stopped", workers=1), whole)
    assert all((tmp_path / "stopped" / name).stat().st_mtime_ns == t for name, t in before.items())


def test_a_full_disk_keeps_the_parts_that_were_written(tmp_path, monkeypatch):
    whole = sweep(tmp_path / "whole", **SMALL, workers=1)
    left, fsync = [5], os.fsync  # two files describe the sweep

    def full(file):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        fsync(file)

    monkeypatch.setattr("lapsd.traces.files.writing.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        sweep(tmp_path / "full", **SMALL, workers=1)
    assert "part-000003.parquet" in error.value.filename
    assert sorted(p.name for p in (tmp_path / "full").iterdir() if not p.name.startswith("_")) == [
        "part-000000.parquet",
        "part-000001.parquet",
        "part-000002.parquet",
    ]
    left[0] = 1000
    pd.testing.assert_frame_equal(resume(tmp_path / "full", workers=1), whole)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_reported_in_one_line(small_disk):
    done = run_cli(
        "--policy",
        "laps-sd",
        "--K",
        "2:4",
        "--seeds",
        "150",
        "--workers",
        "2",
        "--out",
        str(small_disk / "s"),
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("lapsd: ")
    assert "No space left on device" in last
    assert "Traceback" not in done.stderr
    assert all(len(pd.read_parquet(p)) == 45 for p in (small_disk / "s").glob("part-*.parquet"))


def run_cli(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, "sweep", *arguments], capture_output=True, text=True, **more
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "s"
    started = time.monotonic()
    done = run_cli(*LONG, "--out", str(folder), cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return in_order(read_sweep(folder)), time.monotonic() - started


def kill_and_resume(moment, whole, took, folder):
    """Kill the parent process at a share of the sweep's time; check that its workers end and that
    resuming completes the sweep. Return the number of parts that were done.
    """
    script = folder.with_suffix(".py")
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), "sweep", *LONG, "--out", str(folder)],
        stderr=subprocess.DEVNULL,
    )
    time.sleep(moment * took)
    children = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "a worker process outlived its parent"
    there = {p.name for p in folder.glob("part-*.parquet")} if folder.exists() else set()
    if not (folder / folders.ASKED).exists():
        return len(there)  # killed before the sweep began: nothing to resume
    done = subprocess.run(
        [sys.executable, str(script), "sweep", "--resume", str(folder), "--workers", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(in_order(read_sweep(folder)), whole)
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
    return len(there)


@pytest.mark.parametrize(
    "moment",
    [pytest.param(0.15, marks=pytest.mark.deep), 0.5, pytest.param(0.9, marks=pytest.mark.deep)],
)
def test_a_killed_sweep_loses_and_repeats_no_record(moment, uninterrupted, tmp_path):
    kill_and_resume(moment, *uninterrupted, tmp_path / "s")


@pytest.mark.deep
def test_fifty_killed_sweeps_lose_and_repeat_no_record(uninterrupted, tmp_path):
    there = [kill_and_resume(i / 50, *uninterrupted, tmp_path / f"s{i}") for i in range(50)]
    assert max(there) > 10 * (1 + min(there)), "the kills were not spread over the sweep"


# a process that is killed as soon as the temporary file of part 1 is there
KILLED = """
import os, pathlib, sys
from lapsd.sim.sweeps import parts
write = pathlib.Path.write_bytes
def dies(path, content):
    write(path, content[:100])
    os.kill(os.getpid(), 9)
pathlib.Path.write_bytes = dies
parts.write_part(pathlib.Path(sys.argv[1]), "0" * 64, 1, parts.pa.table({"a": [1]}))
"""


def test_what_a_process_leaves_that_is_killed_while_it_writes_a_part_is_removed(tmp_path):
    sweep(tmp_path / "s", **SMALL, workers=1)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "s")], check=False)
    assert killed.returncode == -signal.SIGKILL
    old = f".{os.getpid()}.part-000001.parquet"  # as older versions named it
    for name in (old, f".probe.{os.getpid()}"):
        (tmp_path / "s" / name).touch()
    (tmp_path / "s" / ".notes").touch()
    left = [p.name for p in (tmp_path / "s").iterdir() if p.name.startswith(".")]
    assert len(left) == 4, left
    resume(tmp_path / "s", workers=1)
    assert [p.name for p in (tmp_path / "s").iterdir() if p.name.startswith(".")] == [".notes"]


def started(tmp_path, written):
    """Start a sweep in a new process, wait for the first parts, and return process and folder."""
    script, folder = tmp_path / "run.py", tmp_path / "s"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "sweep", *LONG, "--out", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("part-*.parquet"))) < written and time.monotonic() < deadline:
        time.sleep(0.01)
    return process, folder


def test_a_sweep_survives_a_killed_worker(uninterrupted, tmp_path):
    process, folder = started(tmp_path, 3)
    children = [
        c for c in psutil.Process(process.pid).children() if "spawn_main" in " ".join(c.cmdline())
    ]
    children[0].kill()
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    pd.testing.assert_frame_equal(in_order(read_sweep(folder)), uninterrupted[0])


def test_an_interrupted_sweep_prints_one_line_and_can_be_resumed(uninterrupted, tmp_path):
    process, folder = started(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.strip().splitlines()[-1] == "lapsd: interrupted"
    assert "Traceback" not in error
    assert run_cli("--resume", str(folder), cwd=tmp_path).returncode == 0
    pd.testing.assert_frame_equal(in_order(read_sweep(folder)), uninterrupted[0])


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"is not empty and holds no sweep \(notes.txt\)"):
        sweep(tmp_path, ["fcfs"], requests=2, seeds=1)
    with pytest.raises(ValueError, match="holds no sweep"):
        resume(tmp_path)
    with pytest.raises(ValueError, match="holds no sweep"):
        read_sweep(tmp_path)


def test_a_folder_that_holds_a_sweep_is_refused_or_replaced(tmp_path):
    sweep(tmp_path / "s", ["fcfs"], requests=2, seeds=1)
    with pytest.raises(ValueError, match="holds a sweep already"):
        sweep(tmp_path / "s", ["fcfs"], requests=3, seeds=1)
    assert sweep(tmp_path / "s", ["fcfs"], requests=3, seeds=2, overwrite=True)[
        "requests"
    ].tolist() == [3, 3]


def test_resuming_with_a_changed_trace_is_refused(tmp_path, monkeypatch):
    sweep(tmp_path / "s", ["fcfs"], requests=2, seeds=1)
    monkeypatch.setattr("lapsd.sim.sweeps.chunks.trace_sha256", lambda name: "0" * 64)
    with pytest.raises(ValueError, match="holds another sweep: trace_sha256 was"):
        resume(tmp_path / "s")


def test_a_damaged_part_is_named_and_run_again(tmp_path):
    whole = sweep(tmp_path / "s", **SMALL, workers=1)
    broken = tmp_path / "s" / "part-000002.parquet"
    before = broken.read_bytes()
    broken.write_bytes(before[:200])
    with pytest.raises(ValueError, match="part-000002.parquet: damaged"):
        read_sweep(tmp_path / "s")
    with pytest.warns(DamagedPart, match="part-000002.parquet: damaged"):
        pd.testing.assert_frame_equal(resume(tmp_path / "s", workers=1), whole)
    assert broken.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "fcfs", "--K", "2:3"], "parameter 'K': no policy of this sweep has it"),
        (["--polices", "3"], "parameter 'polices': no policy of this sweep has it"),
        (
            ["sweep.toml"],
            "'sweep.toml': must be --NAME VALUES, as in --K 2:8; a TOML file needs --from FILE",
        ),
        (["--K"], "--K: needs a value, a list or a range"),
        (["--K", "2", "--K", "3"], "--K is given twice"),
        (["--dataset", "novels"], "dataset 'novels': the trace holds"),
        (["--batch", "64", "--requests", "2"], "batch size 64: the profile covers"),
        (["--trace", "nowhere.parquet"], "nowhere.parquet"),
        (["--seeds", "2000000"], "are more than 1,000,000: give --yes"),
        (["--workers", "0"], "workers=0: must be at least 1"),
        (["--resume", "x", "--K", "3"], "--resume reads the sweep from the folder"),
        (["--from", "nowhere.toml"], "nowhere.toml: no such file"),
    ],
)
def test_a_wrong_option_is_reported_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    from lapsd import cli

    out = [] if "--resume" in arguments else ["--out", str(tmp_path / "s")]
    monkeypatch.setattr("sys.argv", ["lapsd", "sweep", *arguments, *out])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    error = capsys.readouterr().err
    assert stopped.value.code == 2, error
    assert message in error.splitlines()[-1]
    assert not (tmp_path / "s").exists()


def test_a_toml_file_repeats_a_sweep(tmp_path):
    first = sweep(tmp_path / "a", **SMALL, workers=1)
    again = grid.Sweep.from_toml(tmp_path / "a" / "_sweep.toml")
    settings = dict(again.settings)
    parts = (again.policies, again.parameters)
    second = sweep(tmp_path / "b", *parts, seeds=again.seeds, workers=1, **settings)
    pd.testing.assert_frame_equal(first, second)


def test_a_folder_whose_sweep_is_written_in_another_way_can_be_resumed(tmp_path, monkeypatch):
    """Older versions kept texts as the user wrote them: `2.50`, or a range instead of a list."""
    with interrupted_after(3, monkeypatch):
        sweep(tmp_path / "s", **SMALL, load=2.5, rate_per_s=None, workers=1)
    path = tmp_path / "s" / folders.ASKED
    asked = json.loads(path.read_text())
    del asked[folders.DIGEST]
    for part in (tmp_path / "s").glob("part-*"):
        pq.write_table(pq.read_table(part).replace_schema_metadata(), part)
    assert asked["sweep"]["settings"].pop("rate") == ["none"]
    asked["sweep"]["settings"] |= {"load": ["2.50"], "rate_per_s": ["auto"], "requests": ["5:8:3"]}
    path.write_text(json.dumps(asked))
    assert len(resume(tmp_path / "s", workers=1)) == 80
    asked["sweep"]["settings"]["load"] = ["2.4"]
    other = ChunkRunner.load(grid.Sweep.from_document(asked["sweep"]))
    with pytest.raises(ValueError, match=r"sweep was .*2.5.*, and is .*2.4"):
        finish(tmp_path / "s", other, workers=1)


def test_the_best_needs_all_runs(tmp_path):
    records = sweep(tmp_path / "s", **SMALL, workers=1)
    with pytest.raises(ValueError, match="runs are missing"):
        best(records.iloc[1:])
