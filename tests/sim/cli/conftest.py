"""The command line in this process."""

import pytest

from sim import cli
from traces.errors import run_command


@pytest.fixture
def lapsd(capsys):
    """Run the command line in this process; returns (exit code, stdout, stderr)."""

    def run(*arguments):
        code = run_command("lapsd", lambda: cli.app([str(a) for a in arguments], standalone_mode=False))
        return code, *capsys.readouterr()

    return run
