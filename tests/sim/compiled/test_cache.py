"""Compiled policies on disk: kept, found again, never stale, and not needed."""

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pytest

from lapsd.policies import Policy
from lapsd.sim.engine.compiled import cache, policy as compiling
from lapsd.sim.engine.compiled.job import JOB, KEYS
from tests.sim.compiled.calls import call

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


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
