"""Figures of lines with intervals over a parameter, in several panels."""

from typing import TYPE_CHECKING

import pandas as pd

from lapsd.sim.figures.style import (
    COLOURS,
    PAGE,
    SERIES,
    SMALL,
    dress,
    in_own_style,
    interval_line,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 4  # most panels in a row
LEGEND = 5  # entries in a row of the legend, if they are long
LONG = 75  # characters of a legend that do not fit in one row
STROKES = ("-", "--", ":")  # of the first lines, and of those for which no colour is left


@in_own_style
def plot_panels(
    rows: pd.DataFrame, x: str, y: str, *, log: bool = False, by_row: bool = False
) -> "Figure":
    """Draw one line with 95 % intervals for each `line`, and one panel for each `panel`.

    Parameters
    ----------
    rows : `panel`, `line`, `x`, `value`, `high`; and, where lines are policies, `colour`, the
        policy.
    x, y : labels of the axes.
    log : whether the x axis is logarithmic, with base 2.
    by_row : whether each row of panels has a y axis of its own.
    """
    panels, lines = list(dict.fromkeys(rows["panel"])), list(dict.fromkeys(rows["line"]))
    down = -(-len(panels) // ACROSS)
    across = -(-len(panels) // down)
    figure = new_figure(PAGE, 0.6 + 2.1 * down)
    axes = figure.subplots(down, across, squeeze=False, sharey="row" if by_row else "all")
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for number, (ax, panel) in enumerate(zip(axes.flat, panels, strict=False)):
        dress(ax, x, "" if number % across else y, panel)
        for index, line in enumerate(lines):
            own = rows[(rows["panel"] == panel) & (rows["line"] == line)].sort_values("x")
            policy = own["colour"].iloc[0] if "colour" in own and len(own) else ""
            colour = COLOURS.get(policy, SERIES[index % len(SERIES)])
            stroke = STROKES[index // len(SERIES) % len(STROKES)]
            interval_line(
                ax, own["x"], own["value"], own["high"], colour=colour, label=line, linestyle=stroke
            )
        ax.axhline(0, color="black", linewidth=0.7)
        ticks = sorted(rows.loc[rows["panel"] == panel, "x"].unique())
        if log:
            ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        fontsize=SMALL,
        frameon=False,
        ncols=len(labels) if sum(map(len, labels)) < LONG else LEGEND,
        loc="outside upper center",
    )
    return figure
