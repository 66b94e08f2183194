"""Maps over acceptance spread and length error, a panel a load and a cost of moves: who is best,
and by how much.

A table of cells has the columns `load`, `swap_scale`, `spread`, `error`; stars are (error, spread).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import NAMES, PAGE, SMALL, colour_of, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Stars = Sequence[tuple[float, float]]
MOST = 40.0  # percent: the end of the colours


def plot_best_policies(cells: pd.DataFrame, stars: Stars, dear: str) -> "Figure":
    """The best policy of each cell, by how much it leads, and how far it is from the bound; pale
    within chance.

    Parameters
    ----------
    cells : also `best`, `margin` in percent with `margin_low`, `over_bound`.
    dear : what a cost of moves beyond the measured one is.
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

    figure, _ = _panels(cells, stars, dear, draw, heights=(0.7, 0.36), sizes=(4.6, 6))
    return figure


def plot_lead(cells: pd.DataFrame, stars: Stars, dear: str) -> "Figure":
    """LAPS-SD against the best of the other policies, in percent: blue where it leads, bold beyond
    chance.

    Parameters
    ----------
    cells : also `laps_sd` in percent with `laps_sd_low`, `laps_sd_high`.
    dear : what a cost of moves beyond the measured one is.
    """
    limit = min(MOST, max(2.0, float(cells["laps_sd"].abs().max())))

    def draw(
        ax: "Axes", some: pd.DataFrame, spreads: list[float], errors: list[float], size: float
    ) -> "AxesImage":
        for cell in some.to_dict("records"):
            sure = cell["laps_sd_low"] > 0 or cell["laps_sd_high"] < 0
            at = errors.index(cell["error"]), spreads.index(cell["spread"])
            ax.text(
                *at,
                f"{cell['laps_sd']:+.1f}",
                ha="center",
                va="center",
                fontsize=size,
                fontweight="bold" if sure else "normal",
                color="white" if abs(cell["laps_sd"]) > 0.65 * limit else "black",
            )
        table = some.pivot(index="spread", columns="error", values="laps_sd").to_numpy()
        return ax.imshow(
            table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", origin="lower"
        )

    figure, image = _panels(cells, stars, dear, draw, heights=(0.8, 0.28), sizes=(5.4, SMALL))
    bar = figure.colorbar(image, ax=figure.axes)
    bar.set_label("LAPS-SD against the best other, %", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def plot_cells(cells: pd.DataFrame) -> "Figure":
    """A difference in percent by row and column: blue where it is below 0, bold beyond chance.

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
        sure = cell["low"] > 0 or cell["high"] < 0
        ax.text(
            columns.index(cell["column"]),
            rows.index(cell["row"]),
            f"{cell['percent']:+.1f}",
            ha="center",
            va="center",
            fontsize=SMALL,
            fontweight="bold" if sure else "normal",
            color="white" if abs(cell["percent"]) > 0.65 * limit else "black",
        )
    ax.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    ax.set_yticks(range(len(rows)), rows)
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax, label="%").ax.tick_params(labelsize=SMALL)
    return figure


def _panels(
    cells: pd.DataFrame,
    stars: Stars,
    dear: str,
    draw: Callable[..., "AxesImage"],
    *,
    heights: tuple[float, float],
    sizes: tuple[float, float],
) -> tuple["Figure", "AxesImage"]:
    """A panel a load and cost of moves, drawn by `draw(ax, cells, spreads, errors, font size)`.

    `heights`: inches of the figure, and of each spread; `sizes`: points with several loads, and
    with one.
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
        moves = "moves as measured" if scales[line] == 1 else dear
        dress(
            ax,
            "length error (SD of the log)" if line == len(scales) - 1 else "",
            "" if column else "acceptance spread",
        )
        ax.set_title(f"load {loads[column]:g}, {moves}", fontsize=SMALL, loc="left")
        ax.set_xticks(range(len(errors)), [f"{e:g}" for e in errors])
        ax.set_yticks(range(len(spreads)), [f"{s:g}" for s in spreads])
        ax.spines[:].set_visible(False)
        for error, spread in stars:  # at the foot of the cells
            x, y = (
                np.interp(error, errors, range(len(errors))),
                np.interp(spread, spreads, range(len(spreads))),
            )
            ax.plot(
                [x], [y - 0.4], "*", markersize=6, color="black", markeredgewidth=0, clip_on=False
            )
    assert image is not None  # there is a cell at least
    return figure, image
