"""Files are written completely or not at all."""

import errno

import pytest

from lapsd.traces.errors import BAD_INPUT, run_command
from lapsd.traces.files import write_whole


def test_a_full_disk_leaves_the_old_file_and_gives_a_one_line_error(tmp_path, capsys):
    path = tmp_path / "result"
    path.write_text("old")

    def fill(temporary):
        temporary.write_text("half of the new")
        raise OSError(errno.ENOSPC, "No space left on device")

    assert run_command("lapsd", lambda: write_whole(path, fill)) == BAD_INPUT
    assert capsys.readouterr().err == f"lapsd: {path}: No space left on device\n"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "result"
    path.write_text("old")

    def stop(temporary):
        temporary.write_text("half of the new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, stop)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
