"""Figures of differences in mean latency, in percent with 95 % intervals."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import (
    PAGE,
    SERIES,
    SMALL,
    colour_of,
    dress,
    in_own_style,
    interval_line,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@in_own_style
def plot_differences(
    groups: Mapping[str, pd.DataFrame], names: Mapping[str, str], against: str
) -> "Figure":
    """Draw one row per policy, sorted by difference, one panel per group.

    Parameters
    ----------
    groups : by title: `policy`, `percent`, `high`.
    names : labels, by the parameters of a policy's spec, or by the spec if it has none; policies
        without a label show their spec.
    against : name of the policy that all are compared with.
    """
    count = sum(len(rows) for rows in groups.values())
    figure = new_figure(PAGE, 0.9 + 0.25 * count)
    panels = figure.subplots(
        len(groups), 1, sharex=True, height_ratios=[len(rows) + 0.5 for rows in groups.values()]
    )
    for ax, (title, rows) in zip(np.atleast_1d(panels), groups.items(), strict=True):
        own = rows.sort_values("percent")
        y, half = np.arange(len(own)), (own["high"] - own["percent"]).to_numpy()
        colours = [colour_of(p, i) for i, p in enumerate(own["policy"])]
        dress(ax, "", "", title)
        ax.hlines(y, own["percent"] - half, own["percent"] + half, color=colours, linewidth=2)
        ax.scatter(own["percent"], y, color=colours, s=14, zorder=3)
        ax.axvline(0, color="black", linewidth=0.7)
        labels = [textwrap.fill(names.get(p.partition(":")[2] or p, p), 55) for p in own["policy"]]
        ax.set_yticks(y, labels, fontsize=SMALL)
        ax.set_ylim(-0.6, len(own) - 0.4)
    figure.axes[-1].set_xlabel(f"mean latency vs. {against}, %", fontsize=SMALL + 1)
    return figure


@in_own_style
def plot_number_of_queues(rows: pd.DataFrame, rules: Mapping[str, str]) -> "Figure":
    """Draw the difference in mean latency to K = 4 by K, and how often each K is best.

    Parameters
    ----------
    rows : `sup_1` (the rule for the first threshold, one column each), `requests` (one line each),
        `K`, `percent`, `high`, `best` (share of resamples).
    rules : titles by rule.
    """
    figure = new_figure(PAGE, 4.6)
    axes = figure.subplots(2, len(rules), sharex="col", sharey="row", height_ratios=(1.25, 1))
    requests = sorted(rows["requests"].unique())
    image = None
    for column, (rule, title) in enumerate(rules.items()):
        ax = dress(axes[0, column], "", "" if column else "mean latency\nvs. K = 4, %", title)
        some = rows[rows["sup_1"] == rule]
        for colour, count in zip(SERIES, requests, strict=False):
            own = some[some["requests"] == count].sort_values("K")
            interval_line(
                ax,
                own["K"],
                own["percent"],
                own["high"],
                colour=colour,
                label=f"{count} requests",
                markersize=2.5,
                linewidth=1.1,
            )
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(min(-2.0, 1.5 * float((2 * rows["percent"] - rows["high"]).min())), 300)
        ax.set_yticks([-10, -1, 0, 1, 10, 100], ["−10", "−1", "0", "1", "10", "100"])
        below = dress(axes[1, column], "K, queues", "" if column else "requests")
        share = some.pivot(index="requests", columns="K", values="best")
        image = below.imshow(
            100 * share.to_numpy(),
            cmap="Blues",
            vmin=0,
            vmax=100,
            aspect="auto",
            extent=(0.5, share.shape[1] + 0.5, len(requests) - 0.5, -0.5),
        )
        for (row, k), value in np.ndenumerate(share.to_numpy()):
            if value >= 0.005:
                below.text(
                    k + 1,
                    row,
                    f"{100 * value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=SMALL,
                    color="white" if value > 0.6 else "black",
                )
        below.set_yticks(range(len(requests)), [str(r) for r in requests])
        below.set_xticks([int(k) for k in share.columns])
    axes[0, 0].legend(fontsize=SMALL, frameon=False, loc="upper right")
    bar = figure.colorbar(image, ax=axes[1, :])  # type: ignore[arg-type]
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label("K is best, % of resamples", fontsize=SMALL)
    return figure


@in_own_style
def plot_value_of_acceptance(rows: pd.DataFrame, titles: Mapping[str, str]) -> "Figure":
    """Draw the gain from knowing acceptance by its spread, one line per length error.

    The smallest, the middle and the largest length error are shown.

    Parameters
    ----------
    rows : `spread`, `error`, and each difference in percent with `_high`.
    titles : titles of the panels, by difference.
    """
    figure = new_figure(PAGE, 2.6)
    axes = figure.subplots(1, len(titles), sharey=True)
    errors = sorted(rows["error"].unique())
    shown = [errors[0], errors[len(errors) // 2], errors[-1]] if len(errors) > 2 else errors
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        dress(
            ax,
            "acceptance spread (1: as recorded)",
            "difference in mean latency, %" if ax is axes[0] else "",
            title,
        )
        for colour, error in zip(SERIES, shown, strict=False):
            own = rows[rows["error"] == error].sort_values("spread")
            label = f"length error {error:g}"
            interval_line(
                ax, own["spread"], own[column], own[f"{column}_high"], colour=colour, label=label
            )
        ax.axhline(0, color="black", linewidth=0.7)
    axes[0].legend(fontsize=SMALL, frameon=False)
    return figure


@in_own_style
def plot_parts_by_spread(
    recorded: pd.DataFrame, generated: pd.DataFrame, parts: Mapping[str, str]
) -> "Figure":
    """Draw a difference and its parts by the CV of requests' times.

    Parameters
    ----------
    recorded, generated : `cv`, and each part in percent with `_high`; open dots and lines.
        `recorded` names its `dataset`.
    parts : labels by part.
    """
    figure = new_figure(PAGE, 2.9)
    ax = dress(figure.subplots(), "CV of requests' times alone", "difference in mean latency, %")
    for (name, label), colour in zip(
        parts.items(), (colour_of("lp-srpt"), SERIES[4], colour_of("laps-sd")), strict=True
    ):
        interval_line(
            ax,
            generated["cv"],
            generated[name],
            generated[f"{name}_high"],
            colour=colour,
            label=label,
        )
        interval_line(
            ax,
            recorded["cv"],
            recorded[name],
            recorded[f"{name}_high"],
            colour=colour,
            linestyle="",
            markersize=5,
            fillstyle="none",
        )
    for row in recorded.to_dict("records"):
        ax.text(
            row["cv"],
            0.02,
            row["dataset"],
            fontsize=SMALL,
            rotation=90,
            ha="center",
            va="bottom",
            transform=ax.get_xaxis_transform(),
        )
    ax.axhline(0, color="black", linewidth=0.7)
    ax.legend(fontsize=SMALL, frameon=False, loc="upper right")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.25 * (high - low), high)
    return figure
