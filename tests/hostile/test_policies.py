"""Policies of a user that are wrong, or that do what a policy must not."""

import os
import subprocess
import sys

import pytest

from lapsd.cli import app
from lapsd.traces.errors import BAD_INPUT, DONE, run_command
from tests.hostile.harness import Case, each

HEAD = """
import os, sys
from dataclasses import dataclass, field, replace
import numpy as np
from lapsd.policies import FCFS, LAS, Policy
"""
CLASS = "@dataclass(frozen=True)\nclass Own(Policy):"
SMALL = "--requests 3 --seeds 1 --all-at-once"
RANK = "def rank(self, job, now_ns): "
ROUND = "def on_round(self, job, now_ns): "
STATE = "@dataclass\n class State:\n  x: int = 0\n "


def own(body: str, says: str, code: int = BAD_INPUT, *, engine: str = "simpy") -> Case:
    """A case in which `mine.py` holds a policy `Own` with this body."""
    lines = body if RANK in body else f"{body}\n {RANK}return (job.index,)"
    return module(f"{CLASS}\n {lines}", says, code, engine)


def module(text: str, says: str, code: int = BAD_INPUT, engine: str = "simpy") -> Case:
    """A case in which `mine.py` holds this text."""

    def given(folder):
        (folder / "mine.py").write_text(HEAD + text, encoding="utf-8")

    given.__name__ = " ".join(text.replace(CLASS, "").split())
    return Case(f"compare --policy mine.Own {SMALL} --engine {engine}", says, code, given)


IMPORTS = [
    module("x = 1 / 0", "mine fails to import: ZeroDivisionError: division by zero"),
    module("class Own(Policy", "mine fails to import: SyntaxError: '(' was never closed (mine.py"),
    module("import nowhere", "mine fails to import: No module named 'nowhere'"),
    module("import mine", "cannot import mine (No module named 'mine')"),
    module("sys.exit(0)", "mine fails to import: SystemExit: 0"),
    module("raise BaseException('stop')", "mine fails to import: BaseException: stop"),
    module("raise ValueError('two\\nlines')", "mine fails to import: ValueError: two lines"),
    module("def f(): return f()\nf()", "fails to import: RecursionError: maximum recursion"),
    module("(" * 5000, "mine fails to import: "),
    module("\0", "mine fails to import: "),
    module("", "mine has no Own ("),
    module("Own = 3", "mine.Own: is not a subclass of lapsd.policies.Policy"),
    module("Own = FCFS()", "mine.Own: is not a subclass of lapsd.policies.Policy"),
    module("class Own: pass", "mine.Own: is not a subclass of lapsd.policies.Policy"),
    module("def __getattr__(name): return 1 / 0", "mine has no Own ("),
    Case(f"compare --policy absent.Own {SMALL}", "cannot import absent (No module named"),
    Case(f"compare --policy a/b.Own {SMALL}", "cannot import a/b (not a name of a module)"),
    Case(f"compare --policy statistics.Own {SMALL}", "statistics has no Own (/"),
    Case(f"compare --policy math.Own {SMALL}", "math has no Own ("),
]

CLASSES = [
    module("class Own(Policy):\n K: int = 3\n " + RANK + "return (1,)", "K is no parameter: Own"),
    module("@dataclass\nclass Own(Policy): pass", "TypeError: cannot inherit non-frozen dataclass"),
    module("class Own(Policy): pass", "policy Own: defines no rank"),
    module("class Own(FCFS): pass\nOwn.name = 'fcfs'", "is called 'fcfs', as a bundled policy"),
    module("class fcfs(FCFS): pass\nOwn = fcfs", "policy fcfs: is called 'fcfs', as a bundled"),
    own("name = 'laps-sd'", "policy Own: is called 'laps-sd', as a bundled policy"),
    own("name = 'a:b=1'", "policy Own: name='a:b=1': must consist of letters, digits"),
    own("name = '\\x1b[31m'", "policy Own: name='\\x1b[31m': must consist of letters"),
    own("name = 3", "policy Own: name=3: must consist of letters, digits"),
    own("name = 'größer'", "größer", DONE),
    own("K: int", "parameter K: has no default"),
    own("K: int = 'x'", "parameter K: its default 'x' is not of type"),
    own("K: set = field(default_factory=set)", "parameter K: a value of type <class 'set'> cannot"),
    own("K: int = field(default=1, init=False)", "policy Own: parameter K: has init=False"),
    own("K: int = 1\n def __post_init__(self): raise ValueError('no')", "Own: __init__ raised Val"),
    own("K: int = 1\n def __post_init__(self): sys.exit(0)", "Own: __init__ raised SystemExit: 0"),
    own("def __init__(self, K): pass", "policy Own: __init__ raised TypeError"),
    own("def __init__(self): self.K = 3", "FrozenInstanceError: cannot assign to field 'K'"),
    own("State = int", "policy Own: State must be a dataclass whose fields have defaults"),
    own("@dataclass\n class State:\n  x: int", "policy Own: State must be a dataclass whose"),
    own("@dataclass\n class State:\n  x: str = ''", "policy Own: State.x is of type str: must be"),
    own("ages = 'yes'", "policy Own: ages raised TypeError: it must be True or False"),
    own("@property\n def ages(self): return 1 / 0", "policy Own: ages raised ZeroDivisionError"),
]

RETURNS = [
    own(RANK + "return job.index", "Own: rank 0 of request 0 at 0 ns: must be a tuple of numbers"),
    own(RANK + "return None", "Own: rank None of request 0 at 0 ns: must be a tuple of numbers"),
    own(RANK + "return [1]", "Own: rank [1] of request 0 at 0 ns: must be a tuple of numbers"),
    own(RANK + "return ('a',)", "Own: rank ('a',) of request 0 at 0 ns: must be a tuple of num"),
    own(RANK + "return (1j,)", "Own: rank (1j,) of request 0 at 0 ns: must be a tuple of numbers"),
    own(RANK + "return (float('nan'),)", "Own: rank (nan,) of request 0 at 0 ns: must be"),
    own(RANK + "return (1, (float('nan'),))", "Own: rank (1, (nan,)) of request 0 at 0 ns: must"),
    own(RANK + "return (np.array([0, np.nan]),)", "Own: rank (array([ 0., nan]),) of request 0"),
    own(RANK + "return (1,) * (1 + job.rounds)", "must be of length 1, as the ranks before it"),
    own(RANK + "yield 1", "Own: rank must return its result: no async and no yield"),
    own("def __repr__(self): return 1 / 0\n " + RANK + "return (self,)", "rank <tuple> of request"),
    own(RANK + "return (float('inf'), True, np.int64(3))", "", DONE),
    own("def bind(self, context): pass", "Own: bind raised TypeError: it must return a policy"),
    own("def on_event(self, event): return 'no'", "Own: on_event returns 'no', arrival of request"),
    own("def derived_values(self): return 3", "Own: derived_values raised TypeError: it must"),
]

RAISES = [
    own(
        "class E(Exception):\n  def __str__(self): return 1 / 0\n " + RANK + "raise Own.E",
        "Own: rank of request 0 at 0 ns raised E: <E>",
    ),
    own("def largest_ns(self, lengths): return 1 / 0", "Own: largest_ns raised ZeroDivisionError"),
    own(RANK + "return (1 / job.rounds,)", "Own: rank of request 0 at 0 ns raised ZeroDivision"),
    own(RANK + "sys.exit(0)", "Own: rank of request 0 at 0 ns raised SystemExit: 0"),
    own("def rank(self, job): return (1,)\n #" + RANK, "Own: rank of request 0 at 0 ns raised Ty"),
    own("def bind(self, context): return 1 / 0", "Own: bind raised ZeroDivisionError"),
    own("def bind(self, context): sys.exit()", "Own: bind raised SystemExit"),
    own("def on_arrival(self, job): return 1 / 0", "Own: on_arrival of request 0 raised ZeroDiv"),
    own(ROUND + "raise KeyError('x')", "Own: on_round of request 0 at"),
    own("def on_event(self, event): raise OSError(2, 'x')", "Own: on_event, arrival of request 0"),
    own("def on_event(self, event): return event.kind == 'completion' and 1 / 0", "completion of"),
    own("def derived_values(self): return 1 / 0", "Own: derived_values raised ZeroDivisionError"),
    own(STATE + "def on_arrival(self, job): job.state.x = 1.5", "job.state.x=1.5: must be of type"),
    own(STATE + ROUND + "job.state.x = 'a'", "TypeError: job.state.x='a': must be of type int"),
    own(STATE + ROUND + "job.state.y = 1", "AttributeError: job.state.y must not be written here"),
    own(ROUND + "job.queue = None", "TypeError: job.queue=None: must be of type int"),
]

WRITES = [
    *(
        own(f"{ROUND}job.{name} = 1", f"AttributeError: job.{name} must not be written here")
        for name in ("rounds", "arrival_ns", "recorded", "tokens", "running", "state", "drafted")
    ),
    *(
        own(f"{RANK}job.{name} = 1; return (1,)", f"at 0 ns raised AttributeError: job.{name} must")
        for name in ("queue", "rounds", "service_ns", "anything")
    ),
    own(STATE + RANK + "job.state.x += 1; return (1,)", "job.state.x must not be written here"),
    own(ROUND + "del job.index", "AttributeError: job.index must not be written here"),
    own(ROUND + "object.__setattr__(job, 'rounds', 9)", "on_round of request 0 at"),
    own(ROUND + "job.acceptances(1).append(3)", "", DONE),
    own(RANK + "self.x = 1; return (1,)", "FrozenInstanceError: cannot assign to field 'x'"),
    module(
        "class Own(FCFS):\n " + RANK + "self.x = 1; return (1,)",
        "policy Own: rank of request 0 at 0 ns raised FrozenInstanceError: cannot assign to fie",
    ),
    own("def on_arrival(self, job): job.index = 3", "FrozenInstanceError: cannot assign to field"),
    own("def on_event(self, event): event.job.rounds = 3", "job.rounds must not be written here"),
    own("def on_event(self, event): event.job.queue = 3", "job.queue must not be written here"),
    *(
        own(f"def bind(self, context):\n  {write}\n  return self", f"Own: bind raised {error}")
        for write, error in (
            ("context.mean_round_ns = 1", "FrozenInstanceError"),
            ("context.past_sizes_ns[0] = 1", "TypeError: 'tuple' object does not support"),
            ("context.past_sizes_ns.clear()", "AttributeError: 'tuple' object has no attribute"),
            ("context.history.tokens[:] = 1", "ValueError: assignment destination is read-only"),
            ("context.history.neighbours(9)[:] = 1", "ValueError: assignment destination is"),
        )
    ),
    own(
        "seen: np.ndarray = field(default_factory=lambda: np.zeros(1), metadata={'bound': True})\n "
        + RANK
        + "self.seen[0] += 1; return (1,)",
        "Own: rank of request 0 at 0 ns raised ValueError: assignment destination is read-only",
    ),
]

COMPILED = [
    own(RANK + "return (1 // job.rounds,)", "Own: rank of request 0 at", engine="auto"),
    own(RANK + "job.queue = 2; return (1,)", "job.queue must not be written here", engine="auto"),
    own(RANK + "job.rounds = 2; return (1,)", "job.rounds must not be written", engine="auto"),
    own(ROUND + "job.queue = 1 // (job.rounds - 2)", "on_round of request", engine="auto"),
    own("def on_event(self, event): return 'no'", "on_event returns 'no', arrival", engine="auto"),
    own(RANK + "return 0.0 * job.index * np.inf,", "Own: rank (nan,) of request", engine="auto"),
    own("K: int = 1\n " + RANK + "return (1, (self.K,))", "Own: rank (1, (1,))", engine="auto"),
]


@each([*IMPORTS, *CLASSES, *RETURNS, *RAISES, *WRITES])
def test_a_policy_that_is_wrong_ends_in_one_line(case, run):
    run(case)


@each(COMPILED)
def test_a_compiled_policy_that_is_wrong_ends_in_the_line_of_simpy(case, run, capsys):
    _, line = run(case)
    _, same = run(case._replace(command=case.command.replace("auto", "simpy")))
    assert line == same


def test_an_exception_after_a_write_names_its_place_and_the_engine_that_names_it(run):
    body = STATE + ROUND + "job.state.x += 1; job.queue = 1 // (job.state.x - 2)"
    run(own(body, "ns raised an exception, which engine=simpy names", engine="auto"))


def test_a_module_next_to_a_policy_is_refused_by_name(run, tmp_path):
    (tmp_path / "helper.py").write_text("x = 1")
    reason = "a policy cannot import helper.py next to it, put both into one file"
    run(module("import helper", f"No module named 'helper': {reason}"))


def test_debug_prints_the_traceback_before_the_line(capsys):
    command = ["--debug", "compare", "--load", "nan"]
    assert run_command("lapsd", lambda: app(command, standalone_mode=False)) == BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "lapsd: load=nan: must be above 0"


SEATED = """
import random
from dataclasses import dataclass
from lapsd.policies import Policy

@dataclass(frozen=True)
class Own(Policy):
    turns: int = 3

    def rank(self, job, now_ns):
        {}
        return (job.rounds >= self.turns, job.index)
"""


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [("pass", 0, ""), ("import sys; sys.exit(0)", 2, "raised SystemExit: 0")],
)
def test_files_next_to_a_policy_and_sys_exit_do_not_disturb_workers(tmp_path, line, code, says):
    (tmp_path / "mine.py").write_text(SEATED.format(line))
    for name in ("random", "queue", "statistics", "matplotlib", "pickle", "socket", "tempfile"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")
    command = [sys.executable, "-m", "lapsd", "sweep", "--out", "s", "--policy", "mine.Own"]
    options = ["--turns", "2:4", "--requests", "4", "--seeds", "170", "--workers", "2"]
    done = subprocess.run(
        [*command, *options, "--engine", "simpy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
