"""Run hostile command lines in this process, and check that each ends in one plain line.

A case is a command line as a user types it. `@NAME` in it stands for an input file that
`inputs.py` makes; these files are shared by all cases and no case may change them. Every case runs
in an empty folder of its own.
"""

import hashlib
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from lapsd import cli
from lapsd.traces.errors import BAD_INPUT, DONE, run_command
from lapsd.traces.streams import visible


class Case(NamedTuple):
    """A command line, and how it must end.

    Attributes
    ----------
    command : the words after `lapsd`; `@NAME` is the path of an input file.
    says : text that the one line on stderr must contain.
    code : exit code.
    given : prepares the folder in which the command runs.
    """

    command: str
    says: str = ""
    code: int = BAD_INPUT
    given: Callable[[Path], object] | None = None

    @property
    def name(self) -> str:
        """Name of the test."""
        made = f" ({self.given.__name__})" if self.given else ""
        return f"{self.command}{made}"


def each(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Return a decorator that runs a test once for each case."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the time of the last change of every file below a folder, by path."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def check(
    case: Case, inputs: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[str, str]:
    """Run a case in `folder`; return what it wrote to stdout and to stderr.

    Fails unless the exit code is the case's, a refusal is exactly one line that says what the case
    expects, every file that was there before a refusal is unchanged, no unfinished file is left,
    and no control character is printed.
    """
    if case.given is not None:
        case.given(folder)
        capsys.readouterr()
    before, shared = digests(folder), stamps(inputs)
    words = [
        word.replace("@", f"{inputs}/") if "@" in word else word
        for word in shlex.split(case.command)
    ]
    code = run_command("lapsd", lambda: cli.app(words, standalone_mode=False))
    stdout, stderr = capsys.readouterr()
    assert code == case.code, stderr or stdout
    assert stamps(inputs) == shared
    if code != DONE:
        lines = stderr.splitlines()
        assert len(lines) == 1, stderr
        assert lines[0].startswith("lapsd: "), stderr
        after = digests(folder)
        assert {name: after.get(name) for name in before} == before
    assert case.says in stderr + stdout, stderr + stdout
    assert "Traceback" not in stderr
    assert visible(stdout + stderr) == stdout + stderr
    assert not [path for path in folder.rglob(".*") if path.is_file()]
    return stdout, stderr
