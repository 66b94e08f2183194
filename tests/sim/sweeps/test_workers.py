"""Worker processes: what happens to chunks when a worker fails, dies or is stopped."""

import os
import sys
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import psutil
import pytest

from lapsd.sim.sweeps import workers
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.grid import Sweep
from lapsd.sim.sweeps.workers import AHEAD, run_in_processes

# a module that worker processes can import; `Runner` stands for `ChunkRunner`
RUNNERS = '''
import os
import signal
import threading
import time
from pathlib import Path


class Runner:
    policies = ()

    def __init__(self, folder, count):
        self.folder, self.chunks = Path(folder), list(range(count))

    @property
    def recipe(self):
        return make, (type(self), vars(self))

    def run(self, chunk):
        (self.folder / f"run-{chunk}-{os.getpid()}").touch()
        return self.result(chunk)

    def result(self, chunk):
        return 10 * chunk

    def is_first(self, chunk):
        return len(list(self.folder.glob(f"run-{chunk}-*"))) == 1


def make(kind, state):
    runner = kind.__new__(kind)
    vars(runner).update(state)
    (runner.folder / f"made-{os.getpid()}-{time.monotonic_ns()}").touch()
    return runner


class Fails(Runner):
    def result(self, chunk):
        if chunk == 3:
            raise FileNotFoundError(2, "is missing", "trace.parquet")
        return chunk


class Dies(Runner):
    def result(self, chunk):
        os.kill(os.getpid(), signal.SIGKILL)


class DiesOnce(Runner):
    def result(self, chunk):
        if chunk in (1, 4) and self.is_first(chunk):
            os.kill(os.getpid(), signal.SIGKILL)
        return 10 * chunk


class DiesSending(Runner):
    """Dies in the system call that writes the result of chunk 1 into a pipe."""

    size = 100_000_000

    def result(self, chunk):
        if chunk != 1 or not self.is_first(chunk):
            return 10 * chunk
        threading.Thread(target=self.kill_in_write, daemon=True).start()
        return bytes(self.size)

    def kill_in_write(self):
        while True:
            call = Path(f"/proc/self/task/{os.getpid()}/syscall").read_text().split()
            if any(0 <= int(word, 16) - self.size < 1_000 for word in call if word[:2] == "0x"):
                os.kill(os.getpid(), signal.SIGKILL)


class Sleeps(Runner):
    def result(self, chunk):
        time.sleep(600 * (chunk > 0))
        return chunk
'''


@pytest.fixture
def runners(tmp_path, monkeypatch):
    (tmp_path / "runners_of_test.py").write_text(RUNNERS)
    monkeypatch.syspath_prepend(tmp_path)
    import runners_of_test

    yield runners_of_test
    del sys.modules["runners_of_test"]


def files(folder, pattern):
    return len(list(Path(folder).glob(pattern)))


def ten_times(count):
    return {chunk: 10 * chunk for chunk in range(count)}


def test_every_chunk_is_run_once_and_each_worker_makes_the_runner_once(runners, tmp_path):
    done = list(run_in_processes(runners.Runner(tmp_path, 30), range(30), 2))
    assert sorted(done) == sorted(ten_times(30).items())
    assert files(tmp_path, "run-*") == 30
    made = [path.name.split("-")[1] for path in tmp_path.glob("made-*")]
    assert 1 <= len(made) == len(set(made)) <= 2


def test_only_some_chunks_are_submitted_ahead(runners, tmp_path):
    results = run_in_processes(runners.Runner(tmp_path, 50), range(50), 2)
    next(results)
    time.sleep(1)  # the workers finish all chunks that were submitted
    assert files(tmp_path, "run-*") == 2 * AHEAD
    results.close()


def test_an_exception_of_a_chunk_is_raised_unchanged(runners, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        list(run_in_processes(runners.Fails(tmp_path, 6), range(6), 2))
    assert (error.value.errno, error.value.filename) == (2, "trace.parquet")


def test_chunks_of_a_dead_worker_are_run_again(runners, tmp_path):
    done = list(run_in_processes(runners.DiesOnce(tmp_path, 12), range(12), 2))
    assert sorted(done) == sorted(ten_times(12).items())


@pytest.mark.skipif(not os.access("/proc/self/syscall", os.R_OK), reason="needs /proc/PID/syscall")
def test_a_worker_that_dies_while_it_sends_a_result_is_noticed(runners, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS_TO_NOTICE", 1.0)
    done = list(run_in_processes(runners.DiesSending(tmp_path, 4), range(4), 2))
    assert sorted(done) == sorted(ten_times(4).items())


def test_workers_that_die_again_and_again_are_reported(runners, tmp_path):
    with pytest.raises(ValueError, match="worker processes died 5 times in a row"):
        list(run_in_processes(runners.Dies(tmp_path, 2), range(2), 1))


def test_the_error_of_a_worker_that_cannot_start_is_raised(runners, tmp_path):
    runner = runners.Runner(tmp_path, 2)
    type(runner).recipe = property(lambda self: (open, (str(tmp_path / "not-there"),)))
    with pytest.raises(FileNotFoundError, match="not-there"):
        list(run_in_processes(runner, range(2), 1))
    type(runner).recipe = property(lambda self: (divmod, (1, 0)))
    with pytest.raises(ValueError, match="a worker cannot start: ZeroDivisionError"):
        list(run_in_processes(runner, range(2), 1))


def test_workers_that_die_at_once_are_reported_and_block_nothing(runners, tmp_path, monkeypatch):
    """The parent never writes more than a pipe holds to a process that may not read it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif '--multiprocessing-fork' in sys.orig_argv: os.kill(os.getpid(), 9)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(sys, "argv", ["lapsd", "x" * 100_000])
    runner = runners.Runner(tmp_path, 2)
    runner.large = bytes(1_000_000)
    begun = time.monotonic()
    with pytest.raises(ValueError, match="worker processes died 5 times in a row"):
        list(run_in_processes(runner, range(2), 2))
    assert time.monotonic() - begun < 10


def test_a_large_recipe_reaches_every_worker(runners, tmp_path):
    runner = runners.Runner(tmp_path, 8)
    runner.large = bytes(1_000_000)
    done = list(run_in_processes(runner, range(8), 2))
    assert sorted(done) == sorted(ten_times(8).items())


def test_the_recipe_of_a_sweep_is_far_smaller_than_its_runner():
    runner = ChunkRunner.load(Sweep.from_document({"parameters": {"K": "2:8", "gamma": "3:9"}}))
    assert len(ForkingPickler.dumps(runner)) > 500_000
    assert len(ForkingPickler.dumps(runner.recipe)) < 8_000


def test_closing_ends_the_workers_at_once(runners, tmp_path):
    results = run_in_processes(runners.Sleeps(tmp_path, 3), range(3), 2)
    assert next(results) == (0, 0)
    children = [
        child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(children) == 2
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 2
    assert not any(child.is_running() for child in children)
