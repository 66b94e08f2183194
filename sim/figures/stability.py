"""Figures of LAPS-SD's stability test: latency by round, and errors of estimated times."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import PAGE, SERIES, SMALL, dress, in_own_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TESTS = {
    "range": ("o", "#D55E00"),
    "count": ("s", "#000000"),
    "window": ("^", "#0072B2"),
    "posterior": ("D", "#009E73"),
}
PARTS = {
    "total": "T̃",
    "length": "length only",
    "acceptance": "acceptance only",
    "cost": "round cost only",
}
TICKS = (1, 2, 5, 10, 20, 50)  # rounds


@in_own_style
def plot_latency_by_round(
    rows: pd.DataFrame, datasets: Sequence[str], tests: Mapping[str, str]
) -> "Figure":
    """Draw latency by the median round at which requests become perceptible, by data set.

    Parameters
    ----------
    rows : `dataset`, `trace` (`recorded`, `shuffled`), `kind` (a key of `TESTS`), `round`, `share`
        (of requests that become perceptible), `percent` (difference in mean latency to FCFS) with
        `low` and `high`.
    tests : the name of each kind of test.
    """
    columns = min(2, len(datasets))
    figure = new_figure(PAGE, 2.5 * -(-len(datasets) // columns) + 0.4)
    panels = figure.subplots(-(-len(datasets) // columns), columns, squeeze=False).flat
    rows = rows[rows["round"].notna()]
    for ax, dataset in zip(panels, datasets, strict=False):
        dress(ax, "median round of becoming perceptible", "mean latency\nvs. FCFS, %", dataset)
        some = rows[rows["dataset"] == dataset]
        for kind, (marker, colour) in TESTS.items():
            own = some[(some["kind"] == kind) & (some["trace"] == "recorded")].sort_values("round")
            if kind == "count":
                ax.plot(own["round"], own["percent"], color=colour, linewidth=1, zorder=1)
                ax.fill_between(
                    own["round"],
                    own["low"],
                    own["high"],
                    color="#bbbbbb",
                    alpha=0.4,
                    linewidth=0,
                    zorder=0,
                )
            size = 18 if kind != "range" else 6 + 26 * own["share"]
            ax.scatter(
                own["round"],
                own["percent"],
                marker=marker,
                s=size,
                color=colour,
                linewidths=0,
                alpha=0.85,
                label=tests[kind],
                zorder=3,
            )
        shuffled = some[(some["kind"] == "range") & (some["trace"] == "shuffled")]
        ax.scatter(
            shuffled["round"],
            shuffled["percent"],
            marker="x",
            s=16,
            color=TESTS["range"][1],
            linewidths=0.8,
            label="γ, δ on shuffled rounds",
            zorder=2,
        )
        ax.set_xscale("log")
        ax.set_xticks(TICKS, [str(t) for t in TICKS])
        ax.minorticks_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, fontsize=SMALL, frameon=False, ncols=3, loc="outside upper center"
    )
    return figure


@in_own_style
def plot_estimate_errors(
    rows: pd.DataFrame, datasets: Sequence[str], reference: float, label: str
) -> "Figure":
    """Draw the mean relative error of T̃ and of its parts by data set, one panel per predictor.

    Parameters
    ----------
    rows : `predictor`, `dataset`, and each of `PARTS` with `_high`; shares, not percent.
    reference, label : an error to draw as a dashed line, and its name in the legend.
    """
    predictors = list(dict.fromkeys(rows["predictor"]))
    figure = new_figure(PAGE, 2.7)
    axes = figure.subplots(1, len(predictors), sharey=True, squeeze=False)[0]
    for ax, predictor in zip(axes, predictors, strict=True):
        dress(ax, "", "mean |T̃ − T| / T, %" if ax is axes[0] else "", f"lengths: {predictor}")
        own = rows[rows["predictor"] == predictor].set_index("dataset").loc[list(datasets)]
        for index, (part, name) in enumerate(PARTS.items()):
            half = 100 * np.nan_to_num(own[f"{part}_high"] - own[part])
            ax.bar(
                np.arange(len(own)) + (index - 1.5) * 0.2,
                100 * own[part],
                0.18,
                yerr=half,
                capsize=1.5,
                color=SERIES[index],
                error_kw={"linewidth": 0.8},
                label=name,
            )
        ax.axhline(
            100 * reference,
            color="black",
            linestyle="--",
            linewidth=0.9,
            label=f"{label}: {reference:.2%}",
        )
        ax.set_xticks(range(len(datasets)), datasets, fontsize=SMALL, rotation=30, ha="right")
        ax.set_yscale("log")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, fontsize=SMALL, frameon=False, ncols=5, loc="outside upper center"
    )
    return figure
