"""A figure of mean latency and tail latency."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import (
    NAMES,
    PAGE,
    SMALL,
    colour_of,
    dress,
    in_own_style,
    interval_line,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWN = "kernel-gittins"
MARKERS = "sDP^vX<>dh"  # of the other policies


@in_own_style
def plot_trade(rows: pd.DataFrame) -> "Figure":
    """Draw p99 over mean latency, both divided by FCFS's, one panel per length predictor.

    Kernel-Gittins is a line over age weights, and every other policy a marker.

    Parameters
    ----------
    rows : `predictor`, `policy`, `mean`, `p99` with `p99_high`, in the order of age weights.
    """
    predictors = list(dict.fromkeys(rows["predictor"]))
    figure = new_figure(PAGE, 3.6)
    axes = figure.subplots(1, len(predictors), squeeze=False, sharey=True)[0]
    for ax, predictor in zip(np.atleast_1d(axes), predictors, strict=True):
        dress(
            ax,
            "mean latency / FCFS's",
            "" if ax is not axes[0] else "p99 of a run / FCFS's",
            f"lengths: {predictor}",
        )
        some = rows[rows["predictor"] == predictor]
        own = some[some["policy"].str.partition(":")[0] == OWN]
        interval_line(
            ax,
            own["mean"],
            own["p99"],
            own["p99_high"],
            colour=colour_of(OWN),
            label=f"{NAMES[OWN]} by age weight",
        )
        for index, row in enumerate(some[~some.index.isin(own.index)].to_dict("records")):
            ax.plot(
                [row["mean"]],
                [row["p99"]],
                MARKERS[index % len(MARKERS)],
                color=colour_of(row["policy"], index),
                markersize=5,
                markeredgecolor="black",
                markeredgewidth=0.5,
                label=NAMES.get(row["policy"], row["policy"]),
            )
        for row in own.to_dict("records"):
            age_weight = row["policy"].partition("=")[2] or "0"
            ax.annotate(
                age_weight,
                (row["mean"], row["p99"]),
                xytext=(-5, -4),
                textcoords="offset points",
                fontsize=SMALL - 1,
                color=colour_of(OWN),
                ha="right",
            )
        ax.axhline(1, color="black", linewidth=0.7)
        ax.margins(x=0.12)  # the age weights need room beside the points
    handles, labels = axes[0].get_legend_handles_labels()
    handles, labels = [handles[-1], *handles[:-1]], [labels[-1], *labels[:-1]]
    figure.legend(
        handles, labels, fontsize=SMALL, frameon=False, ncols=5, loc="outside upper center"
    )
    return figure
