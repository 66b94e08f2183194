"""Signals at any moment end a command in one line, with the exit code of the signal."""

import signal
import subprocess
import sys
import time

import pytest

COMPARE = ("compare", "--requests", "20", "--seeds", "40", "--plot", "latency.png", "--out", "runs")
LONG = ("compare", "--requests", "100", "--seeds", "4000")  # lasts longer than any delay below
# the process says when Python itself is ready, which takes longer on a busy machine
SCRIPT = "print(flush=True); from lapsd.__main__ import main; main()"
NOTES = ("comparing: ", "lapsd: compiling the simulation loop")  # lines that are not about an error
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def begin(folder, *words):
    """Start a command in a folder, and return its process once Python runs in it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdout.readline()
    return process


def check_end(process, folder, number=signal.SIGINT):
    """Check that a signal ended the process in one line, or came after its work was done."""
    try:
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    lines = [line for line in stderr.splitlines() if not line.startswith(NOTES)]
    ends = [(CODES[number], ["lapsd: interrupted"]), (0, [])]
    assert (process.returncode, lines) in ends, stderr
    assert not [path for path in folder.rglob(".*") if path.is_file()]
    return process.returncode


def interrupt(folder, delay, *numbers, words=COMPARE):
    """Send signals to a command, `delay` seconds after its start."""
    process = begin(folder, *words)
    time.sleep(delay)
    for number in numbers:
        process.send_signal(number)
    return check_end(process, folder, numbers[0])


@pytest.mark.parametrize("delay", [0.03, 0.2, 0.6])
def test_an_interrupt_while_libraries_load_ends_in_one_line(delay, tmp_path):
    assert interrupt(tmp_path, delay, signal.SIGINT, words=LONG) == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_another_signal_ends_in_the_same_line_and_its_own_code(number, tmp_path):
    before = signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    try:
        assert interrupt(tmp_path, 0.3, number, words=LONG) == CODES[number]
    finally:
        signal.signal(number, before)


def test_a_second_interrupt_at_once_counts_as_the_same(tmp_path):
    assert interrupt(tmp_path, 0.4, signal.SIGINT, signal.SIGINT, words=LONG) == 130


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = begin(tmp_path, "--version")
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    assert check_end(process, tmp_path) == 0


@pytest.mark.deep
@pytest.mark.parametrize("delay", [i / 20 for i in range(1, 100)])
def test_an_interrupt_at_any_moment_ends_in_one_line(delay, tmp_path):
    interrupt(tmp_path, delay, signal.SIGINT)


@pytest.mark.deep
@pytest.mark.parametrize("delay", [i / 5 for i in range(1, 30)])
def test_two_interrupts_at_any_moment_end_in_one_line(delay, tmp_path):
    interrupt(tmp_path, delay, signal.SIGINT, signal.SIGINT)
