"""Figures of hostile names, and of users with their own settings of matplotlib."""

from xml.etree import ElementTree

import matplotlib
import pytest

from lapsd.sim.figures.saving import image
from lapsd.sim.figures.style import in_own_style, new_figure
from tests.hostile.harness import Case, each

FIGURES = [
    Case("show @escapes.parquet --plot x.svg", "drawn", code=0),
    Case("show @dollars.parquet --plot x.svg", "drawn", code=0),
    Case("compare --trace @note-escapes.parquet --requests 2 --seeds 1 --plot x.svg", code=0),
    Case("compare --trace @note-dollars.parquet --requests 2 --seeds 1 --plot x.svg", code=0),
]


@each(FIGURES)
def test_a_figure_of_any_name_is_valid_xml(case, run, tmp_path):
    run(case)
    ElementTree.parse(tmp_path / "x.svg")


LONG = [
    Case("compare --requests 1001 --timeline x.json", "requests=1001: must be at most 1000 with"),
    Case("compare --requests 3000 --load 2 --gantt x.png", "must be at most 1000 with a timeline"),
]


@each(LONG)
def test_a_timeline_of_many_requests_is_refused(case, run):
    run(case)


@in_own_style
def _drawn():
    figure = new_figure(3, 2)
    ax = figure.subplots()
    ax.set_title("$ \x00 $x^$ ±")
    ax.bar(["$a$", "b\x1b"], [1, 100])
    ax.set_yscale("log")
    return figure


@pytest.mark.parametrize(
    "settings",
    [{"text.usetex": True}, {"axes.facecolor": "red", "font.size": 30}, {"savefig.dpi": 300}],
)
def test_settings_of_the_user_do_not_change_a_figure(settings):
    expected = image(_drawn(), format="png")
    with matplotlib.rc_context(settings):
        assert image(_drawn(), format="png") == expected


def test_names_are_plain_and_numbers_of_an_axis_stay():
    figure = _drawn()
    for _ in range(2):  # saving twice changes nothing
        image(figure, format="png")
        ax = figure.axes[0]
        assert ax.get_title() == "$ \\x00 $x^$ ±"
        names = [label.get_text() for label in ax.get_xticklabels()]
        assert names == ["$a$", "b\\x1b"]
        powers = ax.get_yticklabels()
        assert "mathdefault{10^{" in powers[0].get_text()
        assert powers[0].get_parse_math()
