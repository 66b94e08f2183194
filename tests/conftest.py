"""Settings and fixtures of all tests."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from lapsd import cli
from lapsd.traces.errors import run_command

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
# for tests that need any failing example, not the smallest one
settings.register_profile(
    "unshrunk", settings.get_profile("repeatable"), phases=(Phase.explicit, Phase.generate)
)

# A background job of a shell ignores interrupts, and so do its child processes. Undo that: some
# tests interrupt a child process.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
# `python -m pytest` adds the checkout, which would make `sim` importable. Users have only
# `lapsd.sim`.
sys.path[:] = [path for path in sys.path if path not in ("", str(ROOT))]

PUBLIC = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that no worker runs them alone at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/test_docs.py"))


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Return the folder of public data sets, which are not part of the repository."""
    folder = Path(os.environ.get("LAPSD_PUBLIC_DATA", PUBLIC))
    if not folder.is_dir():
        pytest.skip(f"no public data sets in {folder} (set LAPSD_PUBLIC_DATA to another folder)")
    return folder


@pytest.fixture
def lapsd(capsys):
    """Return a function that runs the command line in this process.

    The function returns (exit code, stdout, stderr).
    """

    def run(*arguments):
        code = run_command(
            "lapsd", lambda: cli.app([str(a) for a in arguments], standalone_mode=False)
        )
        return code, *capsys.readouterr()

    return run
