"""Figures of a sweep: a metric over one parameter as lines, or over two as a heat map."""

import math
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import OTHER, colour_of, in_own_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", *OTHER)


@in_own_style
def plot_lines(
    points: pd.DataFrame, level: pd.DataFrame, *, policies: bool, x: str, y: str, title: str
) -> "Figure":
    """Draw a metric over a parameter, one line per value of another, with 95 % intervals.

    Parameters
    ----------
    points : `line`, `label` (empty: none), `x` (numbers, or texts, which are sorted), `value`,
        `low`, `high`.
    level : `policy`, `value`: policies without the parameter, drawn as horizontal lines.
    policies : whether the lines are policies and have their colours.
    x, y, title : labels of the axes, and the title.
    """
    figure = new_figure(7.0, 3.9)
    draw_lines(figure.subplots(), points, level, policies=policies, x=x, y=y, title=title)
    return figure


def draw_lines(
    ax: "Axes",
    points: pd.DataFrame,
    level: pd.DataFrame,
    *,
    policies: bool,
    x: str,
    y: str,
    title: str,
) -> None:
    """Draw the same as `plot_lines` on the given axes."""
    texts = [] if pd.api.types.is_numeric_dtype(points["x"]) else sorted(points["x"].unique())
    for index, (line, own) in enumerate(points.groupby("line", sort=False)):
        at = [texts.index(v) for v in own["x"]] if texts else own["x"]
        spread = np.nan_to_num([own["value"] - own["low"], own["high"] - own["value"]])
        colour = colour_of(str(line), index) if policies else LINES[index % len(LINES)]
        ax.errorbar(
            at,
            own["value"],
            spread,
            color=colour,
            marker="o",
            markersize=4,
            capsize=3,
            linewidth=1.4,
            label=own["label"].iloc[0] or None,
        )
    for policy, value in level[["policy", "value"]].itertuples(index=False):
        ax.axhline(value, color=colour_of(policy), linestyle="--", linewidth=1)
        ax.annotate(
            policy,
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(3, -3),
            textcoords="offset points",
            fontsize=7,
        )
    if texts:
        ax.set_xticks(range(len(texts)), texts)
    ax.set_xlabel(x)
    ax.set_ylabel(f"{y} (95 % interval over seeds)")
    ax.spines[["top", "right"]].set_visible(False)
    if (points["label"] != "").any():
        ax.legend(frameon=False, fontsize=8)
    ax.set_title("\n".join(textwrap.wrap(title, 105)), fontsize=8, loc="left")


@in_own_style
def plot_heat(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    value: str,
    title: str,
    text: Callable[[object], str] = str,
) -> "Figure":
    """Draw a table as a heat map with the number in each cell.

    The index runs upwards, the columns to the right.
    """
    table = table.sort_index(ascending=False)
    width = max(4.0, 1.2 + 0.62 * table.shape[1])
    figure = new_figure(width, max(2.6, 1.3 + 0.42 * table.shape[0]))
    ax = figure.subplots()
    image = ax.imshow(table.to_numpy(dtype=float), cmap="cividis_r", aspect="auto")
    _cells(ax, table)
    ax.set_xticks(range(table.shape[1]), [text(v) for v in table.columns])
    ax.set_yticks(range(table.shape[0]), [text(v) for v in table.index])
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    figure.colorbar(image, label=value)
    ax.set_title("\n".join(textwrap.wrap(title, int(13 * width))), fontsize=8, loc="left")
    return figure


def _cells(ax: "Axes", table: pd.DataFrame) -> None:
    values = table.to_numpy(dtype=float)
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            shade = "white" if value > middle else "black"
            ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=7, color=shade)
