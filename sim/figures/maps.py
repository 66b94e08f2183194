"""Maps over acceptance spread and length error, one panel per load and cost of KV transfers.

A table of cells has the columns `load`, `swap_scale`, `spread` and `error`; a star is a pair
(error, spread).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import NAMES, PAGE, SMALL, colour_of, dress, in_own_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Stars = Sequence[tuple[float, float]]
MOST = 40.0  # percent: the end of the colours


@in_own_style
def plot_best_policies(cells: pd.DataFrame, stars: Stars, expensive: str) -> "Figure":
    """Draw the best policy of each cell, its margin to the second best, and its ratio to the bound.

    A cell is pale if the margin is not statistically significant.

    Parameters
    ----------
    cells : also `best`, `margin` in percent with `margin_low`, `over_bound`.
    expensive : title of panels where KV transfers take longer than measured.
    """
    from matplotlib.colors import to_rgb

    def draw(
        ax: "Axes", some: pd.DataFrame, spreads: list[float], errors: list[float], size: float
    ) -> "AxesImage":
        image = np.ones((len(spreads), len(errors), 3))
        for cell in some.to_dict("records"):
            y, x = spreads.index(cell["spread"]), errors.index(cell["error"])
            strength = 0.8 if cell["margin_low"] > 0 else 0.3
            image[y, x] = 1 - (1 - np.array(to_rgb(colour_of(cell["best"])))) * strength
            text = f"{NAMES[cell['best']]}\n+{cell['margin']:.1f}\n{cell['over_bound']:.2f}"
            ax.text(x, y, text, ha="center", va="center", fontsize=size)
        return ax.imshow(image, aspect="auto", origin="lower")

    figure, _ = _panels(cells, stars, expensive, draw, heights=(0.7, 0.36), sizes=(4.6, 6))
    return figure


@in_own_style
def plot_lead(cells: pd.DataFrame, stars: Stars, expensive: str) -> "Figure":
    """Draw the difference of LAPS-SD to the best other policy in each cell, in percent.

    Blue: LAPS-SD is faster; red: slower; bold: statistically significant.

    Parameters
    ----------
    cells : also `laps_sd` in percent with `laps_sd_low`, `laps_sd_high`.
    expensive : title of panels where KV transfers take longer than measured.
    """
    limit = min(MOST, max(2.0, float(cells["laps_sd"].abs().max())))

    def draw(
        ax: "Axes", some: pd.DataFrame, spreads: list[float], errors: list[float], size: float
    ) -> "AxesImage":
        for cell in some.to_dict("records"):
            significant = cell["laps_sd_low"] > 0 or cell["laps_sd_high"] < 0
            at = errors.index(cell["error"]), spreads.index(cell["spread"])
            ax.text(
                *at,
                f"{cell['laps_sd']:+.1f}",
                ha="center",
                va="center",
                fontsize=size,
                fontweight="bold" if significant else "normal",
                color="white" if abs(cell["laps_sd"]) > 0.65 * limit else "black",
            )
        table = some.pivot(index="spread", columns="error", values="laps_sd").to_numpy()
        return ax.imshow(
            table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", origin="lower"
        )

    figure, image = _panels(cells, stars, expensive, draw, heights=(0.8, 0.28), sizes=(5.4, SMALL))
    bar = figure.colorbar(image, ax=figure.axes)
    bar.set_label("LAPS-SD vs. best other policy, %", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


@in_own_style
def plot_cells(cells: pd.DataFrame) -> "Figure":
    """Draw differences in percent by row and column.

    Blue: below 0; red: above 0; bold: statistically significant.

    Parameters
    ----------
    cells : `row`, `column`, `percent`, `low`, `high`.
    """
    rows, columns = list(dict.fromkeys(cells["row"])), list(dict.fromkeys(cells["column"]))
    table = cells.pivot(index="row", columns="column", values="percent").loc[rows, columns]
    limit = min(MOST, max(2.0, float(cells["percent"].abs().max())))
    figure = new_figure(PAGE, 1.0 + 0.22 * len(rows))
    ax = dress(figure.subplots(), "length predictor", "")
    image = ax.imshow(table.to_numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for cell in cells.to_dict("records"):
        significant = cell["low"] > 0 or cell["high"] < 0
        ax.text(
            columns.index(cell["column"]),
            rows.index(cell["row"]),
            f"{cell['percent']:+.1f}",
            ha="center",
            va="center",
            fontsize=SMALL,
            fontweight="bold" if significant else "normal",
            color="white" if abs(cell["percent"]) > 0.65 * limit else "black",
        )
    ax.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    ax.set_yticks(range(len(rows)), rows)
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=ax)
    bar.set_label("difference in mean latency, %", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def _panels(
    cells: pd.DataFrame,
    stars: Stars,
    expensive: str,
    draw: Callable[..., "AxesImage"],
    *,
    heights: tuple[float, float],
    sizes: tuple[float, float],
) -> tuple["Figure", "AxesImage"]:
    """Draw panels, one per load and cost of KV transfers.

    Parameters
    ----------
    draw : called for each panel with (axes, cells, spreads, errors, font size).
    heights : inches of the figure without cells, and of each row of cells.
    sizes : font size in points with several loads, and with one.
    """
    loads, scales, spreads, errors = (
        sorted(cells[c].unique()) for c in ("load", "swap_scale", "spread", "error")
    )
    figure = new_figure(PAGE, heights[0] + len(scales) * (0.45 + heights[1] * len(spreads)))
    axes = figure.subplots(len(scales), len(loads), squeeze=False, sharex=True, sharey=True)
    image = None
    for (line, column), ax in np.ndenumerate(axes):
        some = cells[(cells["load"] == loads[column]) & (cells["swap_scale"] == scales[line])]
        image = draw(ax, some, spreads, errors, sizes[0] if len(loads) > 1 else sizes[1])
        transfers = "KV transfers by the profile" if scales[line] == 1 else expensive
        dress(
            ax,
            "length error (SD of the log)" if line == len(scales) - 1 else "",
            "" if column else "acceptance spread",
        )
        ax.set_title(f"load {loads[column]:g}, {transfers}", fontsize=SMALL, loc="left")
        ax.set_xticks(range(len(errors)), [f"{e:g}" for e in errors])
        ax.set_yticks(range(len(spreads)), [f"{s:g}" for s in spreads])
        ax.spines[:].set_visible(False)
        for error, spread in stars:  # at the bottom of the cells
            x, y = (
                np.interp(error, errors, range(len(errors))),
                np.interp(spread, spreads, range(len(spreads))),
            )
            ax.plot(
                [x], [y - 0.4], "*", markersize=6, color="black", markeredgewidth=0, clip_on=False
            )
    assert image is not None  # there is at least one cell
    return figure, image
