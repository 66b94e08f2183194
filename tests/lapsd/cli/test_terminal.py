"""Progress without a terminal: one line per stage on stderr, none per step."""

import pytest

from lapsd.cli import terminal
from lapsd.cli.terminal import watch


def test_a_stage_is_announced_with_its_steps_and_its_time_once(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_UNTIL_SAID", 0)
    with watch(stages=True) as shown:
        for done in range(4):
            shown("decoding requests", done, 4, "at most 20 s")
        shown("predicting lengths", 0, 1)
        shown("timing prefills", 0, 1, "about 3 s")
    assert capsys.readouterr().err.splitlines() == [
        "decoding requests: 4, at most 20 s",
        "predicting lengths",
        "timing prefills: about 3 s",
    ]


def test_a_stage_of_unknown_duration_is_announced_and_then_estimated(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_UNTIL_SAID", 0)
    with watch(stages=True) as shown:
        for done in range(3):
            shown("live runs", done, 4)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "live runs: 4"
    assert second.startswith("live runs: about ")


@pytest.mark.parametrize("options", [{"quiet": True, "stages": True}, {}])
def test_short_tasks_of_quiet_commands_and_of_commands_without_stages_say_nothing(capsys, options):
    with watch(**options) as shown:
        shown("runs", 0, 4, "about 20 s")
        shown("runs", 3, 4, "about 20 s")
    assert capsys.readouterr().err == ""
