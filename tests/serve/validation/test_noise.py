"""On a noisy machine, `lapsd validate --unless-noisy` says so in one sentence."""

import pytest

from lapsd.cli.validate_live import _show
from lapsd.serve.validation.noise import STEADY, too_noisy
from lapsd.serve.validation.report import Report
from tests.serve.validation.test_findings import outcome


def runs(drift, error=1.0):
    """Two runs whose calibration rounds changed by `drift` percent, up and down."""
    return [
        outcome("fcfs", 0, [1, 2, 3], [error, 2 * error, 3 * error], drift=drift / 100),
        outcome("las", 0, [1, 2, 4], [error, 2 * error, 3 * error], drift=-drift / 100),
    ]


def test_the_criterion_is_the_drift_of_calibration_rounds_and_no_error_of_the_simulator():
    assert too_noisy(runs(STEADY, error=1.4)) is None
    assert "changed by 12 % on average during a run (at most 10 %)" in too_noisy(runs(12, error=1))


@pytest.mark.parametrize(("drift", "unless_noisy"), [(30, True), (30, False), (3, True)])
def test_one_sentence_takes_the_place_of_tables_and_figures(drift, unless_noisy, tmp_path, capsys):
    report = Report("a test", {}, runs(drift))
    plot, html = tmp_path / "predicted.png", tmp_path / "page.html"
    _show(report, plot, html, as_json=False, unless_noisy=unless_noisy)
    out = capsys.readouterr().out
    if drift > STEADY and unless_noisy:
        assert out.count("\n") == 1
        assert out.startswith("The machine is too noisy")
        assert list(tmp_path.iterdir()) == []
    else:
        assert "measured / predicted" in out
        assert sorted(tmp_path.iterdir()) == [html, plot]
