"""What all tests share."""

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
# where only it matters that something fails, not how it fails shortest
settings.register_profile(
    "unshrunk", settings.get_profile("repeatable"), phases=(Phase.explicit, Phase.generate)
)

# started in the background, a shell's jobs ignore interrupts, and so would the commands that tests
# interrupt
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
# `python -m pytest` puts the checkout there, where `sim` alone would then be importable; users have
# `lapsd.sim` only
sys.path[:] = [path for path in sys.path if path not in ("", str(ROOT))]

PUBLIC = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker is left alone with it."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/test_docs.py"))


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of public data sets, which the project does not ship."""
    folder = Path(os.environ.get("LAPSD_PUBLIC_DATA", PUBLIC))
    if not folder.is_dir():
        pytest.skip(
            "the public data sets are not beside this checkout (LAPSD_PUBLIC_DATA names another"
            " place)"
        )
    return folder


@pytest.fixture
def lapsd(capsys):
    """Run the command line in this process; returns (exit code, stdout, stderr)."""

    def run(*arguments):
        code = run_command(
            "lapsd", lambda: cli.app([str(a) for a in arguments], standalone_mode=False)
        )
        return code, *capsys.readouterr()

    return run
