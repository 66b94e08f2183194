"""Figures of mean latency: bars by policy, and lines over the number of requests."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import (
    NAMES,
    PAGE,
    SMALL,
    band_line,
    colour_of,
    dress,
    in_own_style,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@in_own_style
def plot_comparison(
    rows: pd.DataFrame, bound_s: float, caption: str, ax: "Axes | None" = None
) -> "Axes":
    """Draw mean latency per policy with its 95 % interval over seeds, and the bound.

    The p99 latency and the worst slowdown stand as text at the end of each bar.

    Parameters
    ----------
    rows : `policy`, `mean_s`, `high_s` (NaN: no interval), `p99_latency_s`, `max_slowdown`.
    bound_s : NaN where there is no bound.
    """
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=(PAGE, 3.9), layout="constrained")
    values = rows["mean_s"].to_numpy(dtype=float)
    half = np.nan_to_num(rows["high_s"].to_numpy(dtype=float) - values)
    position = np.arange(len(values))
    colours = [colour_of(policy, i) for i, policy in enumerate(rows["policy"])]
    ax.barh(position, values, xerr=half, color=colours, height=0.62, capsize=3)
    right = float((values + half).max())
    for y, value, spread, row in zip(
        position.tolist(), values, half, rows.to_dict("records"), strict=True
    ):
        interval = f" ± {spread:.2g}" if spread else ""
        tail = f"p99 {row['p99_latency_s']:.3g} s, worst slowdown {row['max_slowdown']:.3g}"
        ax.text(
            float(value + spread) + 0.02 * right,
            y,
            f"{value:.3g}{interval} s\n{tail}",
            va="center",
            fontsize=8,
        )
    if np.isfinite(bound_s):
        ax.axvline(bound_s, color="black", linestyle="--", linewidth=1)
        ax.annotate(
            f"bound {bound_s:.3g} s",
            (bound_s, -0.5),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=8,
        )
    ax.set_yticks(position, rows["policy"])
    ax.set_ylim(len(values) - 0.5, -0.75)
    ax.set_xlim(0, 1.45 * right)
    ax.set_xlabel("mean latency, s (95 % interval over seeds)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("\n".join(textwrap.wrap(caption, 105)), fontsize=8, loc="left")
    return ax


@in_own_style
def plot_latency_by_requests(
    rows: pd.DataFrame, datasets: Sequence[str], policies: Sequence[str], load: float
) -> "Figure":
    """Draw mean latency by number of requests, with 95 % bands, one column per data set.

    The upper row shows Poisson arrivals, the lower row requests that all arrive at once. Policies
    and the bound are drawn at the same numbers of requests, so that no policy seems to beat the
    bound.

    Parameters
    ----------
    rows : `dataset`, `all_at_once`, `requests`, `policy`, `mean_s`, `high_s`, `bound_s`.
    load : load of the Poisson arrivals.
    """
    figure = new_figure(PAGE, 4.4)
    axes = figure.subplots(2, len(datasets), sharex=True, squeeze=False)
    for line, (at_once, arrivals) in enumerate(
        ((False, f"Poisson, load {load:g}"), (True, "all at once"))
    ):
        for column, dataset in enumerate(datasets):
            ax = dress(
                axes[line, column],
                "requests" if line else "",
                "" if column else f"{arrivals}:\nmean latency, s",
                "" if line else dataset,
            )
            some = rows[(rows["dataset"] == dataset) & (rows["all_at_once"] == at_once)]
            for index, policy in enumerate(policies):
                own = some[some["policy"] == policy].sort_values("requests")
                band_line(
                    ax,
                    own["requests"],
                    own["mean_s"],
                    own["high_s"],
                    colour=colour_of(policy, index),
                    label=NAMES.get(policy, policy),
                )
            bound = some.drop_duplicates("requests").sort_values("requests")
            ax.plot(
                bound["requests"], bound["bound_s"], "k--", linewidth=0.9, label="bound", zorder=4
            )
            ax.set_ylim(bottom=0)
            ax.set_xticks(sorted(some["requests"].unique()))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        fontsize=SMALL + 0.5,
        frameon=False,
        ncols=len(labels),
        loc="outside upper center",
    )
    return figure
