"""A trace drawn: how its requests differ, how their rounds hang together, and when they become perceptible."""

from typing import TYPE_CHECKING

import numpy as np

from policies import LapsSD
from sim.experiment.stability import stable_rounds
from traces import Trace
from traces.describe import describe, shuffled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DATASETS = 5
# one colour per data set in every figure of a trace, after Tol's bright scheme: none is a policy's
DATASET_COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377", "#66CCEE")


def plot_trace(trace: Trace, policy: LapsSD | None = None) -> "Figure":
    """Acceptance over requests, its autocorrelation, acceptance by place in a draft, rounds until perceptible."""
    from sim.figures.picture import Picture

    policy = policy or LapsSD()
    figure = Picture(figsize=(9.0, 6.2), layout="constrained")
    axes = figure.subplots(2, 2)
    names = trace.datasets
    groups = [("all data sets", trace)]
    if 1 < len(names) <= MOST_DATASETS:
        groups = [(name, trace.only(name)) for name in names]
    for (name, some), colour in zip(groups, DATASET_COLOURS, strict=False):
        told = describe(some).iloc[-1]
        label = f"{name}: mean {told['acceptance']:.3f}, sd {told['acceptance_sd']:.3f}"
        _steps(axes[0, 0], some.acceptance, len(some), colour, "-", label)
        lags = np.arange(1, len(told["autocorrelation"]) + 1)
        axes[0, 1].plot(lags, told["autocorrelation"], "o-", color=colour, markersize=3, linewidth=1.2, label=name)
        draft = told["draft_position"]
        axes[1, 0].plot(np.arange(1, len(draft) + 1), draft, "o-", color=colour, markersize=3, linewidth=1.2)
        stable = stable_rounds(some, policy)
        mixed = stable_rounds(shuffled(some, np.random.default_rng(0)), policy)
        _steps(axes[1, 1], stable[stable > 0], len(stable), colour, "-", None)
        _steps(axes[1, 1], mixed[mixed > 0], len(mixed), colour, ":", None)
    axes[0, 1].axhline(0, color="black", linewidth=0.7)
    axes[1, 1].plot([], [], "k-", label="as recorded")
    axes[1, 1].plot([], [], "k:", label="rounds shuffled within each request")
    labels = (
        (axes[0, 0], "acceptance of a request (accepted / drafted)", "share of requests"),
        (axes[0, 1], "lag, rounds", "autocorrelation of acceptance"),
        (axes[1, 0], "place in the draft", "accepted, if those before were"),
        (axes[1, 1], f"perceptible after rounds (γ = {policy.gamma}, δ = {policy.delta:g})", "share of requests"),
    )
    for ax, x, y in labels:
        ax.set_xlabel(x, fontsize=8)
        ax.set_ylabel(y, fontsize=8)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7, frameon=False)
    axes[0, 0].set_xlim(0, 1)
    axes[1, 0].set_ylim(0, 1)
    axes[1, 1].set_xlim(left=0)
    axes[1, 1].set_ylim(-0.03, 1.12)
    axes[1, 0].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"{trace.metadata.get('source', 'a trace')}: {len(trace)} requests", fontsize=9)
    return figure


def _steps(ax: "Axes", values: np.ndarray, out_of: int, colour: str, style: str, label: str | None) -> None:
    """The share of `out_of` requests at or below each value."""
    x = np.sort(values)
    ax.step(x, np.arange(1, len(x) + 1) / out_of, where="post", color=colour, linestyle=style, linewidth=1.2,
            label=label)  # fmt: skip
