"""The option --engine: it changes the program that simulates, and no result."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from lapsd.sim.engine import simulation
from lapsd.sim.sweeps import grid, read_sweep
from tests.compilation import compiled_only

ENGINES = ("auto", "simpy", "compiled")
SMALL = ("--seeds", 2, "--requests", 12, "--policy", "fcfs", "--policy", "laps-sd")


def test_a_comparison_is_the_same_with_every_engine(lapsd, tmp_path):
    printed = set()
    for engine in ENGINES:
        out = tmp_path / engine
        code, text, error = lapsd("compare", *SMALL, "--engine", engine, "--out", out, "--json")
        assert (code, error) == (0, "")
        files = sorted(out.iterdir())
        printed.add((text, *(path.read_bytes() for path in files if path.suffix == ".json")))
        assert json.loads(text)
    assert len(printed) == 1


@pytest.mark.parametrize(
    ("verb", "runs"), [(("compare",), 4), (("sweep", "--workers", 1), 4)], ids=["compare", "sweep"]
)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_chosen_program_does_every_run(lapsd, tmp_path, monkeypatch, verb, runs, engine):
    served = []
    by_simpy = simulation._by_simpy
    monkeypatch.setattr(
        simulation, "_by_simpy", lambda *given: served.append(given) or by_simpy(*given)
    )
    assert lapsd(*verb, *SMALL, "--engine", engine, "--out", tmp_path / "out")[0] == 0
    assert len(served) == (runs if engine == "simpy" else 0)


def test_a_sweep_is_the_same_with_every_engine_and_can_go_on_with_another(lapsd, tmp_path):
    common = (*SMALL, "--K", "2,4", "--workers", 1)
    for engine in ENGINES:
        assert lapsd("sweep", *common, "--engine", engine, "--out", tmp_path / engine)[0] == 0
    folders = [tmp_path / engine for engine in ENGINES]
    for name in ("_sweep.json", "_sweep.toml", "part-000000.parquet"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1
    records = read_sweep(folders[0])
    (folders[0] / "part-000000.parquet").unlink()
    assert lapsd("sweep", "--resume", folders[0], "--engine", "simpy", "--workers", 1)[0] == 0
    assert read_sweep(folders[0]).equals(records)


@pytest.mark.parametrize("verb", ["compare", "sweep", "reproduce"])
def test_an_unknown_engine_is_one_line_before_any_work(lapsd, tmp_path, verb):
    code, _, error = lapsd(verb, "--engine", "rust", "--out", tmp_path / "out")
    assert code == 2
    assert error == "lapsd: engine=rust: must be auto, simpy or compiled\n"
    assert not (tmp_path / "out").exists()


def test_the_compiled_engine_and_a_timeline_exclude_each_other(lapsd, tmp_path):
    code, _, error = lapsd(
        "compare", *SMALL, "--engine", "compiled", "--timeline", tmp_path / "t.json"
    )
    assert code == 2
    assert error == (
        "lapsd: --engine compiled: records no timeline; not with --timeline or --gantt\n"
    )


SLOW = ("--policy", "kernel-gittins-online", "--policy", "kernel-gittins-online:known=9")


@compiled_only
@pytest.mark.parametrize(
    "verb", [("compare",), ("sweep", "--workers", 1), ("sweep", "--workers", 2)]
)
def test_a_policy_that_cannot_be_compiled_is_said_once(lapsd, tmp_path, monkeypatch, verb):
    """In a sweep also if several workers meet it, in several chunks."""
    monkeypatch.setattr(grid, "RUNS_PER_CHUNK", 2)
    some = (*SLOW, "--requests", 3, "--seeds", 4, "--out", tmp_path / "out")
    code, _, error = lapsd(*verb, *some)
    assert code == 0
    slow = [line for line in error.splitlines() if "SimPy" in line]
    assert len(slow) == 1
    assert slow[0].startswith("lapsd: policy kernel-gittins-online: rank: ")
    assert "GrowingHistory" in slow[0]
    assert slow[0].endswith(": runs in SimPy, about 100 times slower")


@compiled_only
def test_a_policy_that_cannot_be_compiled_is_refused_by_the_compiled_engine(lapsd):
    code, _, error = lapsd("compare", *SLOW, "--requests", 3, "--engine", "compiled")
    assert code == 2
    assert error.startswith("lapsd: policy kernel-gittins-online: rank: ")
    assert error.count("\n") == 1


def test_a_policy_chosen_to_run_in_simpy_is_not_said(lapsd):
    code, _, error = lapsd("compare", *SLOW, "--requests", 3, "--seeds", 1, "--engine", "simpy")
    assert (code, error) == (0, "")


# says when each call of the loop begins
SCRIPT = """
import sys
from lapsd.cli import main
from lapsd.sim.engine.compiled import program, runs

def serve(servers, arrays):
    print("serving", len(servers), flush=True)
    program.serve(servers, arrays)

runs.serve = serve
if __name__ == "__main__":
    main()
"""
# all waiting requests are ranked again at every decision: minutes
LONG = ("--policy", "alise", "--seeds", "1", "--all-at-once")


@compiled_only
@pytest.mark.parametrize(
    ("command", "calls"),
    [
        (("compare", *LONG, "--requests", "20000"), 1),
        (("sweep", *LONG, "true", "--requests", "10,20000", "--workers", "1", "--out", "s"), 2),
    ],
    ids=["compare", "sweep"],
)
def test_an_interrupt_ends_the_compiled_loop(tmp_path, command, calls):
    """A sweep keeps what is finished."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    late = threading.Timer(200, process.kill)
    late.start()
    for _ in range(calls):
        process.stdout.readline()
    time.sleep(0.2)  # now the loop runs
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, error = process.communicate()
    late.cancel()
    assert process.returncode == 130, error
    assert time.monotonic() - sent < 20  # on a busy machine; else well below a second
    assert error.strip().splitlines()[-1] == "lapsd: interrupted"
    assert "Traceback" not in error
    if "sweep" in command:
        assert [p.name for p in sorted((tmp_path / "s").glob("part-*"))] == ["part-000000.parquet"]


@compiled_only
@pytest.mark.parametrize(
    "options",
    [
        ("--policy", "fastserve"),
        ("--policy", "alise", "--batch", 4, "--memory", "alise", "--kv-tokens", 3000),
    ],
    ids=["ages", "transfers"],
)
def test_signals_are_looked_for_several_times_a_second(lapsd, monkeypatch, options):
    from lapsd.sim.engine.compiled import program

    serve_all, took = program.serve_all, []

    def timed(*given):
        began = time.process_time()
        at = serve_all(*given)
        took.append(time.process_time() - began)
        return at

    monkeypatch.setattr(program, "serve_all", timed)
    some = ("--all-at-once", "--requests", 3000, "--seeds", 1)
    assert lapsd("compare", *options, *some, "--engine", "compiled")[0] == 0
    assert len(took) > 2
    assert max(took) < 1
