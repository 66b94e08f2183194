"""Policies of a user that are wrong, or that do what a policy must not."""

from lapsd.cli import app
from lapsd.traces.errors import BAD_INPUT, run_command


def test_debug_prints_the_traceback_before_the_line(capsys):
    command = ["--debug", "compare", "--load", "nan"]
    assert run_command("lapsd", lambda: app(command, standalone_mode=False)) == BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "lapsd: load=nan: must be above 0"
