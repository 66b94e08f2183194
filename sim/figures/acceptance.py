"""Figures of acceptance: over requests, from round to round, and until requests are perceptible."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import COLUMN, SERIES, SMALL, dress, in_own_style, new_figure
from lapsd.traces import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DATASETS = 5


@in_own_style
def plot_trace(
    description: pd.DataFrame,
    requests: pd.DataFrame,
    test: str,
    title: str,
    known: Reliability | None = None,
) -> "Figure":
    """Draw the acceptance of a trace in four panels, or five.

    They show the distribution over requests, the autocorrelation over rounds, acceptance by
    position in a draft, the distribution of the round at which requests become perceptible, and
    acceptance by the draft model's own probability.

    Parameters
    ----------
    description : as returned by `lapsd.traces.describe`: one row per data set, and a last row for
        all requests.
    requests : `dataset`, `acceptance`, and the round at which each request becomes perceptible (0:
        never), as recorded (`stable`) and with its rounds shuffled (`shuffled`).
    test : description of the stability test.
    known : how well the draft model's own probabilities predict acceptance; None: no such panel.
    """
    figure = new_figure(9.0 if known is None else 13.0, 6.2)
    axes = figure.subplots(2, 2 if known is None else 3)
    names = list(dict.fromkeys(requests["dataset"]))
    groups = [("all data sets", description.iloc[-1], requests)]
    if 1 < len(names) <= MOST_DATASETS:
        described = description.set_index("dataset")
        groups = [
            (name, described.loc[name], requests[requests["dataset"] == name]) for name in names
        ]
    for (name, row, some), colour in zip(groups, SERIES, strict=False):
        label = f"{name}: mean {row['acceptance']:.3f}, sd {row['acceptance_sd']:.3f}"
        _steps(axes[0, 0], some["acceptance"].to_numpy(), len(some), colour, "-", label)
        lags = np.arange(1, len(row["autocorrelation"]) + 1)
        axes[0, 1].plot(
            lags,
            row["autocorrelation"],
            "o-",
            color=colour,
            markersize=3,
            linewidth=1.2,
            label=name,
        )
        draft = row["draft_position"]
        axes[1, 0].plot(
            np.arange(1, len(draft) + 1), draft, "o-", color=colour, markersize=3, linewidth=1.2
        )
        for column, style in (("stable", "-"), ("shuffled", ":")):
            rounds = some[column].to_numpy()
            _steps(axes[1, 1], rounds[rounds > 0], len(some), colour, style, None)
    axes[0, 1].axhline(0, color="black", linewidth=0.7)
    axes[1, 1].plot([], [], "k-", label="as recorded")
    axes[1, 1].plot([], [], "k:", label="rounds shuffled within each request")
    labels = (
        (axes[0, 0], "acceptance of a request (accepted / drafted)", "share of requests"),
        (axes[0, 1], "lag, rounds", "autocorrelation of acceptance"),
        (axes[1, 0], "position in the draft", "acceptance if all before were accepted"),
        (axes[1, 1], f"perceptible after rounds ({test})", "share of requests"),
    )
    for ax, x, y in labels:
        dress(ax, x, y).tick_params(labelsize=8)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7, frameon=False)
    axes[0, 0].set_xlim(0, 1)
    axes[1, 0].set_ylim(0, 1)
    axes[1, 1].set_xlim(left=0)
    axes[1, 1].set_ylim(-0.03, 1.12)
    axes[1, 0].xaxis.get_major_locator().set_params(integer=True)
    if known is not None:
        _draw_reliability(axes[0, 2], known)
        axes[1, 2].set_axis_off()
    figure.suptitle(title, fontsize=9)
    return figure


def _draw_reliability(ax: "Axes", known: Reliability) -> None:
    """Draw acceptance by the draft model's own probability; on the diagonal they are equal."""
    dress(ax, "probability by the draft model", "share accepted").tick_params(labelsize=8)
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.7, linestyle=":")
    label = f"area under the ROC curve {known.auc:.3f}"
    bins = known.bins
    ax.plot(bins["draft_prob"], bins["accepted"], "o-", color=SERIES[0], markersize=3, label=label)
    ax.legend(fontsize=7, frameon=False)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)


def _steps(
    ax: "Axes", values: np.ndarray, out_of: int, colour: str, style: str, label: str | None
) -> None:
    """Draw the share of `out_of` requests at or below each value."""
    x = np.sort(values)
    ax.step(
        x,
        np.arange(1, len(x) + 1) / out_of,
        where="post",
        color=colour,
        linestyle=style,
        linewidth=1.2,
        label=label,
    )


@in_own_style
def plot_running_acceptance(rows: pd.DataFrame) -> "Figure":
    """Draw the running acceptance of a few requests, with dots where they become perceptible.

    Parameters
    ----------
    rows : one row per round: `request`, `dataset`, `stable` (the round of the dot), `round`,
        `rate`.
    """
    figure = new_figure(COLUMN, 2.7)
    ax = dress(figure.subplots(), "round", "running acceptance rate")
    for colour, (_, own) in zip(SERIES, rows.groupby("request", sort=False), strict=False):
        stable = int(own["stable"].iloc[0])
        label = f"{own['dataset'].iloc[0]}, round {stable}"
        ax.plot(own["round"], own["rate"], color=colour, linewidth=1.2, label=label)
        dot = own[own["round"] == stable]
        ax.plot(dot["round"], dot["rate"], "o", color=colour, markersize=6, markeredgecolor="black")
    ax.set_ylim(0, 1)
    ax.set_xlim(0, int(rows["round"].max()) + 1)
    ax.legend(fontsize=SMALL, frameon=False, title="data set, perceptible at", title_fontsize=SMALL)
    return figure
