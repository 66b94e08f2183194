"""Streams that are closed or cannot show a character, and characters that control a terminal."""

import os
import subprocess
import sys

import pytest

from lapsd.traces.streams import safe_streams, visible
from tests.hostile.harness import Case, each

TEXTS = [
    Case("show @escapes.parquet", "\\x1b[31mred\\x9b2J\\u202e", code=0),
    Case("show --verbose @note-escapes.parquet", "\\x1b]0;owned\\x07", code=0),
    Case("compare --trace @escapes.parquet --requests 2 --seeds 1", code=0),
    Case("compare --trace @note-escapes.parquet --requests 2 --seeds 1", "\\x1b[31mred", code=0),
    Case("compare --trace @escapes.parquet --dataset x", "\\x1b[31mred"),
    Case("compare --policy \x1b[31mred", "\\x1b[31mred"),
    Case("show 'nosuch\x1b[31m\rfile'", "nosuch\\x1b[31m"),
    Case("show @nosuch\udcff", "nosuch\\udcff"),
]


@each(TEXTS)
def test_control_characters_reach_no_terminal(case, run):
    run(case)


def _lapsd(words: str, redirect: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = f'"{sys.executable}" -P -m lapsd {words} {redirect}'
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "redirect", "code"),
    [
        ("show reference", ">&- 2>&- <&-", 0),
        ("show reference", "| head -1; exit ${PIPESTATUS[0]}", 1),
        ("show nosuch", "2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}", 2),
        ("show reference", ">/dev/full", 2),
    ],
)
def test_a_closed_stream_is_no_traceback(words, redirect, code):
    done = _lapsd(words, redirect)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) <= 1


def test_a_table_falls_back_to_ascii():
    words = "compare --requests 3 --seeds 1 --policy srpt --engine simpy"
    done = _lapsd(words, "", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "srpt +" in done.stdout.decode("ascii")


def test_streams_are_as_before_after_a_command():
    before = sys.stdout, sys.stderr
    with safe_streams():
        print("\x1b[2J")
    assert (sys.stdout, sys.stderr) == before


def test_visible_text_keeps_lines_and_other_scripts():
    assert visible("a\tb\né 漢") == "a\tb\né 漢"
    assert visible("\x1b\x7f\x85\u2066") == "\\x1b\\x7f\\x85\\u2066"
