"""Figures of shares as stacked bars."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import COLUMN, PAGE, SERIES, SMALL, dress, in_own_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REST = "#DDDDDD"


@in_own_style
def plot_shares(shares: pd.DataFrame, x: str) -> "Figure":
    """Draw one stacked bar per row, from top to bottom.

    Parameters
    ----------
    shares : parts in columns; the last column is the rest, in grey.
    x : label of the axis.
    """
    figure = new_figure(PAGE, max(0.6 * COLUMN, 0.9 + 0.27 * len(shares)))
    ax = dress(figure.subplots(), x)
    left = np.zeros(len(shares))
    colours = [*SERIES[: shares.shape[1] - 1], REST]
    for colour, (name, share) in zip(colours, shares.items(), strict=True):
        ax.barh(range(len(shares)), share, left=left, color=colour, label=str(name), height=0.7)
        left += share.to_numpy()
    ax.set_yticks(range(len(shares)), [str(name) for name in shares.index])
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    figure.legend(loc="outside upper left", ncols=len(colours), frameon=False, fontsize=SMALL)
    return figure
