"""The plot of predicted against measured latency of each request."""

import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from lapsd.sim.figures.style import COLUMN, NAMES, SMALL, colour_of, dress, in_own_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LETTERS = 18  # letters of small type per inch


@in_own_style
def plot_predicted(requests: pd.DataFrame, caption: str) -> "Figure":
    """Plot predicted against measured latency: one dot per request, one panel per load.

    On the diagonal line the two are equal.

    Parameters
    ----------
    requests : with columns `load`, `policy`, `latency_s` and `predicted_latency_s`.
    """
    loads = sorted(set(requests["load"]))
    figure = new_figure(COLUMN * max(len(loads), 1.4), COLUMN + 0.4)
    axes = figure.subplots(1, len(loads), squeeze=False)[0]
    for ax, load in zip(axes, loads, strict=True):
        rows = requests[requests["load"] == load]
        columns = ["latency_s", "predicted_latency_s"]
        ends = [rows[columns].to_numpy().min() * 0.8, rows[columns].to_numpy().max() * 1.25]
        ax.plot(ends, ends, color="black", linewidth=0.7)
        for i, (policy, some) in enumerate(rows.groupby("policy", sort=False)):
            name = NAMES.get(str(policy), str(policy))
            dots = {"markersize": 2.5, "alpha": 0.6, "markeredgewidth": 0}
            ax.loglog(
                some["latency_s"],
                some["predicted_latency_s"],
                "o",
                color=colour_of(str(policy), i),
                label=name,
                **dots,
            )
        ax.set_xlim(*ends)
        ax.set_ylim(*ends)
        ax.set_aspect("equal")
        dress(ax, "measured latency, s", "predicted latency, s", f"load {load:g}")
    axes[0].legend(fontsize=SMALL - 1, frameon=False, markerscale=1.5)
    wide = int(LETTERS * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.wrap(caption, wide)), fontsize=SMALL, x=0.01, ha="left")
    return figure
