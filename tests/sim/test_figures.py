"""Figures are objects that notebooks show; a comparison draws its schedules only if it has recorded them."""

import pytest

from policies import FCFS, LapsSD
from sim import compare
from sim.figures.trace import plot_trace
from traces import load_profile, load_trace


def test_figures_show_themselves_in_notebooks():
    assert plot_trace(load_trace("reference"))._repr_png_()[:4] == b"\x89PNG"


def test_schedules_need_timelines():
    trace, profile = load_trace("reference"), load_profile("reference")
    with pytest.raises(ValueError, match="no timelines were recorded"):
        compare(trace, profile, [FCFS()], requests=3, seeds=1).plot_schedules()
    figure = compare(trace, profile, [FCFS(), LapsSD()], requests=3, seeds=1, timeline=True).plot_schedules()
    assert len(figure.axes) == 2
