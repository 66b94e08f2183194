"""Figures that question the paper: readings, controls, and the map of where LAPS-SD wins."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sim.figures.latency import NAMES, colour_of
from sim.figures.paper import PAGE, SERIES, SMALL, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KIND_STYLES = {
    "range": ("o", "#D55E00"),
    "count": ("s", "#000000"),
    "window": ("^", "#0072B2"),
    "posterior": ("D", "#009E73"),
}


def readings(rows: pd.DataFrame, told: Mapping[str, str]) -> "Figure":
    """Figure 8: each other reading of the paper, and each other policy, against LAPS-SD as we read it."""
    known = rows.sort_values("percent")
    own = known[known["policy"].str.startswith("laps-sd:")]
    others = known[~known["policy"].str.startswith("laps-sd:")]
    figure = new_figure(PAGE, 0.9 + 0.25 * len(known))
    left, right = figure.subplots(2, 1, height_ratios=(len(own) + 0.5, len(others) + 0.5))
    for ax, some in ((left, own), (right, others)):
        dress(ax)
        names = [textwrap.fill(told.get(p.partition(":")[2], p), 50) for p in some["policy"]]
        y = np.arange(len(some))
        half = (some["high"] - some["percent"]).to_numpy()
        colours = [colour_of(p, i) for i, p in enumerate(some["policy"])]
        ax.hlines(y, some["percent"] - half, some["percent"] + half, color=colours, linewidth=2)
        ax.scatter(some["percent"], y, color=colours, s=14, zorder=3)
        ax.axvline(0, color="black", linewidth=0.7)
        ax.set_yticks(y, names, fontsize=SMALL)
        ax.set_ylim(-0.6, len(some) - 0.4)
    right.set_xlabel("mean latency against LAPS-SD as we read it, %", fontsize=SMALL + 1)
    left.set_title("other readings of the paper and other parameters", fontsize=SMALL + 1, loc="left")
    right.set_title("other policies", fontsize=SMALL + 1, loc="left")
    return figure


def controls(rows: pd.DataFrame, datasets: Sequence[str], kinds: Mapping[str, str]) -> "Figure":
    """Figure 9: latency by the median round at which a test calls requests perceptible; recorded and shuffled."""
    columns = min(2, len(datasets))
    figure = new_figure(PAGE, 2.5 * -(-len(datasets) // columns) + 0.4)
    panels = figure.subplots(-(-len(datasets) // columns), columns, squeeze=False).flat
    for ax, dataset in zip(panels, datasets, strict=False):
        dress(ax, "median round of becoming perceptible", "mean latency\nagainst FCFS, %", dataset)
        some = rows[rows["dataset"] == dataset]
        for kind, (marker, colour) in KIND_STYLES.items():
            own = some[(some["kind"] == kind) & (some["trace"] == "recorded") & some["round"].notna()].sort_values(
                "round"
            )
            if kind == "count":
                ax.plot(own["round"], own["percent"], color=colour, linewidth=1, zorder=1)
                ax.fill_between(
                    own["round"], own["low"], own["high"], color="#bbbbbb", alpha=0.4, linewidth=0, zorder=0
                )
            size = 18 if kind != "range" else 6 + 26 * own["share"]
            ax.scatter(own["round"], own["percent"], marker=marker, s=size, color=colour, linewidths=0, alpha=0.85,
                       label=kinds[kind], zorder=3)  # fmt: skip
        mixed = some[(some["kind"] == "range") & (some["trace"] == "shuffled") & some["round"].notna()]
        ax.scatter(mixed["round"], mixed["percent"], marker="x", s=16, color="#D55E00", linewidths=0.8,
                   label="γ, δ on shuffled rounds", zorder=2)  # fmt: skip
        ax.set_xscale("log")
        ticks = [1, 2, 5, 10, 20, 50]
        ax.set_xticks(ticks, [str(t) for t in ticks])
        ax.minorticks_off()
    axes = figure.axes
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=SMALL, frameon=False, ncols=3, loc="outside upper center")
    return figure


def winners(rows: pd.DataFrame, marked: Sequence[tuple[float, float, str]]) -> "Figure":
    """Figure 10: the best policy of each cell, by how much it leads, and how far it is from the bound."""
    from matplotlib.colors import to_rgb

    loads, scales, spreads, errors = (sorted(rows[c].unique()) for c in ("load", "swap_scale", "spread", "error"))
    figure = new_figure(PAGE, 0.7 + len(scales) * (0.45 + 0.36 * len(spreads)))
    axes = figure.subplots(len(scales), len(loads), squeeze=False, sharex=True, sharey=True)
    for (line, column), ax in np.ndenumerate(axes):
        some = rows[(rows["load"] == loads[column]) & (rows["swap_scale"] == scales[line])]
        image = np.ones((len(spreads), len(errors), 3))
        for cell in some.to_dict("records"):
            y, x = spreads.index(cell["spread"]), errors.index(cell["error"])
            sure = cell["margin_low"] > 0
            image[y, x] = 1 - (1 - np.array(to_rgb(colour_of(cell["best"])))) * (0.8 if sure else 0.3)
            told = f"{NAMES[cell['best']]}\n+{cell['margin']:.1f}\n{cell['over_bound']:.2f}"
            ax.text(x, y, told, ha="center", va="center",
                    fontsize=4.6 if len(loads) > 1 else 6)  # fmt: skip
        ax.imshow(image, aspect="auto", origin="lower")
        _axes_of_map(ax, spreads, errors, line == len(scales) - 1, column == 0)
        ax.set_title(_cell_title(loads[column], scales[line]), fontsize=SMALL, loc="left")
        _mark(ax, marked, spreads, errors)
    return figure


def against_best(rows: pd.DataFrame, marked: Sequence[tuple[float, float, str]]) -> "Figure":
    """Figure 11: LAPS-SD against the best of the other policies, in percent: blue where it leads."""
    loads, scales, spreads, errors = (sorted(rows[c].unique()) for c in ("load", "swap_scale", "spread", "error"))
    figure = new_figure(PAGE, 0.8 + len(scales) * (0.45 + 0.28 * len(spreads)))
    axes = figure.subplots(len(scales), len(loads), squeeze=False, sharex=True, sharey=True)
    limit = min(40.0, max(2.0, float(rows["laps_sd"].abs().max())))
    image = None
    for (line, column), ax in np.ndenumerate(axes):
        some = rows[(rows["load"] == loads[column]) & (rows["swap_scale"] == scales[line])]
        table = some.pivot(index="spread", columns="error", values="laps_sd").to_numpy()
        image = ax.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", origin="lower")
        for cell in some.to_dict("records"):
            sure = cell["laps_sd_low"] > 0 or cell["laps_sd_high"] < 0
            at = errors.index(cell["error"]), spreads.index(cell["spread"])
            ax.text(*at, f"{cell['laps_sd']:+.1f}", ha="center", va="center",
                    fontsize=5.4 if len(loads) > 1 else SMALL, fontweight="bold" if sure else "normal",
                    color="white" if abs(cell["laps_sd"]) > 0.65 * limit else "black")  # fmt: skip
        _axes_of_map(ax, spreads, errors, line == len(scales) - 1, column == 0)
        ax.set_title(_cell_title(loads[column], scales[line]), fontsize=SMALL, loc="left")
        _mark(ax, marked, spreads, errors)
    bar = figure.colorbar(image, ax=axes)  # type: ignore[arg-type]
    bar.set_label("LAPS-SD against the best other, %", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def _cell_title(load: float, scale: float) -> str:
    return f"load {load:g}, " + ("moves as measured" if scale == 1 else "a move 14 % at 500 tokens")


def _axes_of_map(ax: "Axes", spreads: Sequence[float], errors: Sequence[float], bottom: bool, left: bool) -> None:
    dress(ax, "length error (SD of the log)" if bottom else "", "acceptance spread" if left else "")
    ax.set_xticks(range(len(errors)), [f"{e:g}" for e in errors])
    ax.set_yticks(range(len(spreads)), [f"{s:g}" for s in spreads])
    ax.spines[:].set_visible(False)


def _mark(
    ax: "Axes", marked: Sequence[tuple[float, float, str]], spreads: Sequence[float], errors: Sequence[float]
) -> None:
    """Stars at (error, spread) where real traces lie, at the foot of the cells."""
    for error, spread, colour in marked:
        x = np.interp(error, errors, range(len(errors)))
        y = np.interp(spread, spreads, range(len(spreads)))
        ax.plot([x], [y - 0.4], "*", markersize=6, color=colour, markeredgewidth=0, clip_on=False)


def value_of_acceptance(rows: pd.DataFrame) -> "Figure":
    """Figure 12: what knowing acceptance buys beyond knowing length, by acceptance spread and length error."""
    figure = new_figure(PAGE, 2.6)
    axes = figure.subplots(1, 2, sharey=True)
    errors = sorted(rows["error"].unique())
    shown = [errors[0], errors[len(errors) // 2], errors[-1]] if len(errors) > 2 else errors
    for ax, column, title in ((axes[0], "sjf", "LP-SJF that knows mean acceptance, against LP-SJF"),
                              (axes[1], "srpt", "SRPT (true times), against LP-SRPT")):  # fmt: skip
        dress(ax, "acceptance spread (1: as recorded)", "mean latency, %" if ax is axes[0] else "", title)
        for colour, error in zip(SERIES, shown, strict=False):
            own = rows[rows["error"] == error].sort_values("spread")
            ax.errorbar(own["spread"], own[column], own[f"{column}_high"] - own[column], color=colour, marker="o",
                        markersize=3, linewidth=1.2, elinewidth=0.8, label=f"length error {error:g}")  # fmt: skip
        ax.axhline(0, color="black", linewidth=0.7)
    axes[0].legend(fontsize=SMALL, frameon=False)
    return figure


def preemption(recorded: pd.DataFrame, stretched: pd.DataFrame) -> "Figure":
    """Figure 13: LAPS-SD against LP-SJF as what preemption buys and what learning costs, by the CV of times."""
    figure = new_figure(PAGE, 2.9)
    ax = dress(figure.subplots(), "CV of requests' times alone", "mean latency, %")
    parts = (
        ("preemption", "LP-SRPT against LP-SJF: preemption", colour_of("lp-srpt")),
        ("learning", "LAPS-SD against LP-SRPT: learning", SERIES[4]),
        ("both", "LAPS-SD against LP-SJF: both", colour_of("laps-sd")),
    )
    for name, label, colour in parts:
        half = stretched[f"{name}_high"] - stretched[name]
        ax.errorbar(stretched["cv"], stretched[name], half, color=colour, marker="o", markersize=3, linewidth=1.2,
                    elinewidth=0.8, label=label)  # fmt: skip
        half = recorded[f"{name}_high"] - recorded[name]
        ax.errorbar(recorded["cv"], recorded[name], half, color=colour, fmt="o", markersize=5, fillstyle="none",
                    elinewidth=0.8)  # fmt: skip
    for row in recorded.to_dict("records"):
        ax.text(row["cv"], 0.02, row["dataset"], fontsize=SMALL, rotation=90, ha="center", va="bottom",
                transform=ax.get_xaxis_transform())  # fmt: skip
    ax.axhline(0, color="black", linewidth=0.7)
    ax.legend(fontsize=SMALL, frameon=False, loc="upper right")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.25 * (high - low), high)
    return figure
