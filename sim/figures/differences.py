"""Mean latency as a difference to something, in percent with 95 % intervals: in a list, or over a
parameter.
"""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import PAGE, SERIES, SMALL, colour_of, dress, interval_line, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_differences(
    groups: Mapping[str, pd.DataFrame], names: Mapping[str, str], against: str
) -> "Figure":
    """A row a policy, sorted by its difference, in groups one above the other.

    Parameters
    ----------
    groups : by title; `policy`, `percent`, `high`.
    names : by the policy's parameters as in its spec, what they mean; without one a policy goes by
        its spec.
    against : what they are compared with.
    """
    count = sum(len(rows) for rows in groups.values())
    figure = new_figure(PAGE, 0.9 + 0.25 * count)
    panels = figure.subplots(
        len(groups), 1, height_ratios=[len(rows) + 0.5 for rows in groups.values()]
    )
    for ax, (title, rows) in zip(np.atleast_1d(panels), groups.items(), strict=True):
        own = rows.sort_values("percent")
        y, half = np.arange(len(own)), (own["high"] - own["percent"]).to_numpy()
        colours = [colour_of(p, i) for i, p in enumerate(own["policy"])]
        dress(ax, "", "", title)
        ax.hlines(y, own["percent"] - half, own["percent"] + half, color=colours, linewidth=2)
        ax.scatter(own["percent"], y, color=colours, s=14, zorder=3)
        ax.axvline(0, color="black", linewidth=0.7)
        called = [textwrap.fill(names.get(p.partition(":")[2], p), 50) for p in own["policy"]]
        ax.set_yticks(y, called, fontsize=SMALL)
        ax.set_ylim(-0.6, len(own) - 0.4)
    figure.axes[-1].set_xlabel(f"mean latency against {against}, %", fontsize=SMALL + 1)
    return figure


def plot_number_of_queues(rows: pd.DataFrame, rules: Mapping[str, str]) -> "Figure":
    """Latency against that with K = 4, a line a number of requests, and how often each K is best; a
    column a rule.

    Parameters
    ----------
    rows : `sup_1` (the rule for it), `requests`, `K`, `percent`, `high`, `best` (share of
        resamples).
    rules : titles by rule.
    """
    figure = new_figure(PAGE, 4.6)
    axes = figure.subplots(2, len(rules), sharex="col", sharey="row", height_ratios=(1.25, 1))
    requests = sorted(rows["requests"].unique())
    image = None
    for column, (rule, title) in enumerate(rules.items()):
        ax = dress(axes[0, column], "", "" if column else "mean latency\nagainst K = 4, %", title)
        some = rows[rows["sup_1"] == rule]
        for colour, count in zip(SERIES, requests, strict=False):
            own = some[some["requests"] == count].sort_values("K")
            nudge = (count - 30) / 250
            interval_line(
                ax,
                own["K"] + nudge,
                own["percent"],
                own["high"],
                colour=colour,
                label=f"{count} requests",
                markersize=2.5,
                linewidth=1.1,
            )
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(-2, 300)
        ax.set_yticks([-1, 0, 1, 10, 100], ["−1", "0", "1", "10", "100"])
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
    bar.set_label("best K, % of resamples", fontsize=SMALL)
    return figure


def plot_value_of_acceptance(rows: pd.DataFrame, titles: Mapping[str, str]) -> "Figure":
    """What knowing acceptance buys, by its spread, a line a length error (the least, the middle,
    the largest).

    Parameters
    ----------
    rows : `spread`, `error`, and each difference in percent with `_high`.
    titles : panels by difference.
    """
    figure = new_figure(PAGE, 2.6)
    axes = figure.subplots(1, len(titles), sharey=True)
    errors = sorted(rows["error"].unique())
    shown = [errors[0], errors[len(errors) // 2], errors[-1]] if len(errors) > 2 else errors
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        dress(
            ax,
            "acceptance spread (1: as recorded)",
            "mean latency, %" if ax is axes[0] else "",
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


def plot_parts_by_spread(
    recorded: pd.DataFrame, generated: pd.DataFrame, parts: Mapping[str, str]
) -> "Figure":
    """A difference and the parts it is made of by the CV of requests' times: lines where generated,
    dots as recorded.

    Parameters
    ----------
    recorded, generated : `cv`, and each part in percent with `_high`; `recorded` names its
        `dataset`.
    parts : labels by part.
    """
    figure = new_figure(PAGE, 2.9)
    ax = dress(figure.subplots(), "CV of requests' times alone", "mean latency, %")
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
