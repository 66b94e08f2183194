"""The mean against the tail."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import PAGE, SMALL, colour_of, dress, interval_line, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWN = "kernel-gittins"


def plot_trade(rows: pd.DataFrame) -> "Figure":
    """Mean against p99, both over FCFS's: a line of `kernel-gittins` by patience, a dot each other policy.

    A panel a predictor.

    Parameters
    ----------
    rows : `predictor`, `policy`, `mean`, `p99` with `p99_high`, in the order of patience.
    """
    predictors = list(dict.fromkeys(rows["predictor"]))
    figure = new_figure(PAGE, 3.2)
    axes = figure.subplots(1, len(predictors), squeeze=False, sharey=True)[0]
    for ax, predictor in zip(np.atleast_1d(axes), predictors, strict=True):
        dress(
            ax,
            "mean latency over FCFS's",
            "" if ax is not axes[0] else "p99 of a run over FCFS's",
            predictor,
        )
        some = rows[rows["predictor"] == predictor]
        own = some[some["policy"].str.partition(":")[0] == OWN]
        interval_line(ax, own["mean"], own["p99"], own["p99_high"], colour=colour_of(OWN))
        for index, row in enumerate(some[~some.index.isin(own.index)].to_dict("records")):
            ax.plot(
                [row["mean"]],
                [row["p99"]],
                "s",
                color=colour_of(row["policy"], index),
                markersize=4,
            )
            ax.annotate(
                row["policy"],
                (row["mean"], row["p99"]),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize=SMALL - 1,
            )
        for row in own.to_dict("records"):
            age_weight = row["policy"].partition("=")[2] or "0"
            ax.annotate(
                age_weight,
                (row["mean"], row["p99"]),
                xytext=(-3, -8),
                textcoords="offset points",
                fontsize=SMALL - 1,
                color=colour_of(OWN),
            )
        ax.axhline(1, color="black", linewidth=0.7)
    return figure
