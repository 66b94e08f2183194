"""Compiled policies on disk: kept, found again, never stale, and not needed."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numba import types

from lapsd.policies import Policy
from lapsd.sim.engine import loop
from lapsd.sim.engine.compiled import cache, policy as compiling, program
from lapsd.sim.engine.compiled.job import JOB, KEYS
from tests.compilation import compiled_only
from tests.sim.compiled.calls import call

pytestmark = compiled_only


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_GIVEN", str(tmp_path))
    return tmp_path


def shifted(amount):
    """A policy whose rank calls a function of its module that adds `amount`."""
    module = {"amount": amount}
    exec("def shift(tokens):\n    return tokens + amount", module)
    exec("def rank(self, job, now_ns):\n    return (shift(job.tokens),)", module)
    return dataclass(frozen=True)(type("Shifted", (Policy,), {"rank": module["rank"]}))()


def ranked(policy):
    """The first key of a request of 5 tokens, and how often its code was found on disk."""
    compiling._COMPILED.clear()  # as in another process
    compiled = compiling.compile_policy(policy)
    parameters = compiled.parameters(policy)
    jobs, out = np.zeros(1, dtype=JOB), np.zeros(KEYS, dtype=np.int64)
    jobs["tokens"] = 5
    addresses = (parameters.address, int(jobs.ctypes.data), 0, int(out.ctypes.data))
    assert call(compiled.rank, *addresses) == 0
    return int(out[0]), compiled.kept["rank"].cache_hits


def test_compiled_code_is_found_again(folder):
    assert ranked(shifted(1)) == (6, 0)
    assert ranked(shifted(1)) == (6, 1)


def test_a_change_of_what_a_policy_calls_is_noticed(folder):
    assert ranked(shifted(1)) == (6, 0)
    assert ranked(shifted(2)) == (7, 0)
    assert ranked(shifted(1)) == (6, 1)


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04."])
@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
def test_a_corrupted_file_is_ignored(folder, content, kind):
    assert ranked(shifted(1)) == (6, 0)
    found = list(folder.rglob(kind))
    assert found
    for path in found:
        path.write_bytes(content)
    assert ranked(shifted(1)) == (6, 0)
    assert ranked(shifted(1))[0] == 6


def test_code_is_compiled_afresh_where_no_folder_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "_GIVEN", str(tmp_path / "file"))
    assert cache.cache_folder("x") is None
    assert ranked(shifted(1)) == ranked(shifted(1)) == (6, 0)


def test_a_user_without_a_home_folder_keeps_nothing(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache, "_GIVEN", "")
    monkeypatch.setattr(Path, "home", home)
    assert cache.cache_folder("x") is None


def test_the_name_of_a_folder_depends_on_every_key(folder):
    names = {str(cache.cache_folder(*keys)) for keys in (("a", "b"), ("ab",), ("b", "a"), ("a",))}
    assert len(names) == 4


def add_one(number):
    """Stands for the loop, which takes long to compile."""
    return number + 1


@pytest.fixture
def compiled_loop(folder, capsys):
    """A function that compiles a short function as the loop; returns what is said on stderr."""
    signature = types.int64(types.int64)

    def compiled():
        made = program.compile_loop(add_one, signature, "simulation loop", loop)
        assert made(4) == 5
        return capsys.readouterr().err

    return compiled


ONCE = "lapsd: compiling the simulation loop (once per machine, up to 30 s)\n"


def test_compiling_the_loop_is_said_once(compiled_loop):
    assert compiled_loop() == ONCE
    assert compiled_loop() == ""


def test_a_changed_loop_is_compiled_and_said_again(compiled_loop, monkeypatch, tmp_path):
    assert compiled_loop() == ONCE
    changed = Path(tmp_path / "changed.py")
    changed.write_text("")
    monkeypatch.setattr(loop, "__file__", str(changed))
    assert compiled_loop() == ONCE


def test_a_loop_on_disk_that_cannot_be_loaded_is_compiled_and_said(compiled_loop, folder):
    assert compiled_loop() == ONCE
    for path in folder.rglob("*.nbc"):
        path.write_bytes(b"no code")
    assert "(up to 30 s: the one on disk cannot be loaded)" in compiled_loop()
    assert compiled_loop() == ONCE
    assert compiled_loop() == ""


def test_a_loop_that_cannot_be_kept_is_said_at_each_start(compiled_loop, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "_GIVEN", str(tmp_path / "file"))
    for _ in range(2):
        assert "(at each start, up to 30 s: no folder for caches can be written)" in compiled_loop()


def test_one_process_compiles_while_others_wait(folder):
    entered = threading.Event()

    def enter():
        with cache.alone_in(folder):
            entered.set()

    with cache.alone_in(folder):
        other = threading.Thread(target=enter)
        other.start()
        assert not entered.wait(0.2)
    other.join(timeout=30)
    assert entered.is_set()


def test_a_folder_that_another_process_removes_is_not_waited_for(folder):
    with cache.alone_in(folder / "removed"):
        pass
