"""Figures of costs: measured times against a profile's terms, and the time of one switch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import COLUMN, SERIES, SMALL, dress, in_own_style, new_figure
from lapsd.traces import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS: dict[str, Any] = {"s": 4, "alpha": 0.35, "linewidths": 0, "rasterized": True}
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")


@in_own_style
def plot_profile(profile: Profile, samples: pd.DataFrame, rounds: pd.DataFrame) -> "Figure":
    """Draw passes by context, the grid of batches, prefill and swaps.

    Parameters
    ----------
    profile : its terms are drawn as lines.
    samples, rounds : the raw timings that calibration saves with the profile, drawn as points.
    """
    figure = new_figure(9.6, 6.8)
    axes = figure.subplots(2, 2)
    _plot_passes(axes[0, 0], profile, samples, rounds)
    _plot_grid(axes[0, 1], profile, samples[samples["term"] == "cell"])
    _plot_line(axes[1, 0], samples[samples["term"] == "prefill"], profile.costs.prefill)
    axes[1, 0].set_title(
        "prefill of both models (batches: all rows' tokens)", fontsize=9, loc="left"
    )
    _plot_swaps(axes[1, 1], profile, samples)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7, frameon=False)
    known = profile.provenance
    names = " + ".join(
        "?" if model is None else model.name for model in (known.target, known.draft)
    )
    figure.suptitle(
        f"{names} ({profile.weights} weights), {known.dtype or '?'},"
        f" {known.hardware or '? threads of a CPU'}",
        fontsize=10,
    )
    return figure


def _plot_passes(ax: "Axes", profile: Profile, samples: pd.DataFrame, rounds: pd.DataFrame) -> None:
    """Draw the draft step and the verify pass at batch size 1."""
    terms = profile.costs.rounds[1]
    n = (profile.provenance.draft_tokens or (4,))[0]
    own = rounds[rounds["drafted"] == n]
    if own.empty:  # random weights: the grid's rounds
        cells = samples[
            (samples["term"] == "cell") & (samples["batch"] == 1) & (samples["width"] == n + 1)
        ]
        own = cells.rename(columns={"tokens": "context"}).astype(float)[
            ["context", "draft_ns", "verify_ns"]
        ]
    verify = terms.verify(n + 1)
    parts = [
        (f"verify, {n + 1} tokens", own["verify_ns"], verify),
        ("draft step", own["draft_ns"] / n, terms.draft_step),
    ]
    for colour, (label, ns, line) in zip(COLOURS, parts, strict=False):
        ax.scatter(own["context"], ns / 1e6, color=colour, **POINTS)
        reach = np.array([0, float(own["context"].max())])
        ax.plot(reach, (line.base_ns + line.per_token_ns * reach) / 1e6, color=colour, label=label)
    top = np.percentile(own["verify_ns"], 99) / 1e6
    ax.set_ylim(0, 1.3 * top)
    ax.set_xlabel("context, tokens", fontsize=8)
    ax.set_ylabel("ms", fontsize=8)
    ax.set_title(
        "passes inside rounds, batch size 1 (slowest 1 % above the frame)", fontsize=9, loc="left"
    )


def _plot_grid(ax: "Axes", profile: Profile, cells: pd.DataFrame) -> None:
    """Draw predicted against measured rounds of the grid; held-out cells have a ring."""
    keys = ["cell", "role", "batch", "width"]
    medians = cells.groupby(keys, as_index=False)[["tokens", "ns"]].median()
    covered = medians[medians["batch"].isin(list(profile.costs.rounds))]
    whole = covered[["batch", "width", "tokens", "ns"]].astype(float).round().astype(int).to_numpy()
    predicted = (
        np.array([profile.round_cost(int(b))(int(w) - 1, int(t)) for b, w, t, _ in whole]) / 1e6
    )
    measured = whole[:, 3] / 1e6
    for colour, batch in zip(COLOURS, sorted(set(whole[:, 0].tolist())), strict=False):
        rows = whole[:, 0] == batch
        ax.scatter(measured[rows], predicted[rows], s=12, color=colour, label=f"batch {batch}")
    held_out = (covered["role"] == "held_out").to_numpy()
    ax.scatter(
        measured[held_out],
        predicted[held_out],
        s=40,
        facecolors="none",
        edgecolors="black",
        linewidths=0.6,
        label="held out",
    )
    ends = [min(measured.min(), predicted.min()), max(measured.max(), predicted.max())]
    ax.plot(ends, ends, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("round measured, ms (median of a cell)", fontsize=8)
    ax.set_ylabel("predicted, ms", fontsize=8)
    ax.set_title("rounds over batch, width and context", fontsize=9, loc="left")


def _plot_line(ax: "Axes", rows: pd.DataFrame, term: Callable[[int], int]) -> None:
    parts = (("batch 1", rows[rows["batch"] == 1]), ("larger batches", rows[rows["batch"] > 1]))
    for colour, (label, some) in zip(COLOURS, parts, strict=False):
        if len(some):
            tokens, ns = some["tokens"].astype(float), some["ns"].astype(float)
            ax.scatter(tokens, ns / 1e6, color=colour, label=label, **POINTS)
    reach = np.linspace(0, float(rows["tokens"].max()), 50).astype(int).tolist()
    ax.plot(reach, [term(tokens) / 1e6 for tokens in reach], color="black", linewidth=0.8)
    ax.set_xlabel("tokens", fontsize=8)
    ax.set_ylabel("ms", fontsize=8)


def _plot_swaps(ax: "Axes", profile: Profile, samples: pd.DataFrame) -> None:
    for colour, (way, swap) in zip(COLOURS, profile.costs.swap_ways.items(), strict=False):
        for direction, term, style in (("out", swap.out, "-"), ("in", swap.back, "--")):
            rows = samples[samples["term"] == f"swap_{direction} {way}"]
            tokens = rows["tokens"].astype(float)
            ax.scatter(tokens, rows["ns"].astype(float) / 1e6, color=colour, **POINTS)
            reach = np.array([0.0, tokens.max()])
            line = (term.base_ns + term.per_token_ns * reach) / 1e6
            ax.plot(reach, line, style, color=colour, label=f"{way}, {direction}")
    ax.set_xlabel("tokens of both models' KV cache", fontsize=8)
    ax.set_ylabel("ms", fontsize=8)
    ax.set_title("KV swaps", fontsize=9, loc="left")


@in_own_style
def plot_switching(rows: pd.DataFrame, reference: tuple[float, float], label: str) -> "Figure":
    """Draw the time of one switch in percent of inference time by output length.

    Parameters
    ----------
    rows : `tokens`, `way` (the method of switching, one line each), `share`.
    reference, label : tokens and share of a star, and its name in the legend.
    """
    figure = new_figure(COLUMN, 2.7)
    ax = dress(figure.subplots(), "output length, tokens", "one switch / inference time, %")
    for colour, (way, own) in zip(SERIES, rows.groupby("way", sort=False), strict=False):
        ax.plot(own["tokens"], 100 * own["share"], color=colour, linewidth=1.4, label=str(way))
    tokens, share = reference
    ax.plot([tokens], [100 * share], "k*", markersize=9, label=f"{label}: ~{share:.0%}")
    ax.set_yscale("log")
    ax.set_xlim(0, int(rows["tokens"].max()))
    ax.set_ylim(top=200)
    ax.legend(fontsize=SMALL, frameon=False, ncols=2, loc="upper right")
    return figure
