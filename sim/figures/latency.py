"""Figures. One colour per policy everywhere, colour-blind safe (Okabe and Ito); units on every axis."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiment.comparison import Comparison

COLOURS = {
    "fcfs": "#999999",
    "las": "#E69F00",
    "lp-sjf": "#56B4E9",
    "lp-srpt": "#0072B2",
    "laps-sd": "#D55E00",
    "srpt": "#009E73",
}
NAMES = {
    "fcfs": "FCFS", "las": "LAS", "las-round": "LAS every round", "gittins": "Gittins", "lp-sjf": "LP-SJF",
    "lp-sjf-mean": "LP-SJF with acceptance", "lp-srpt": "LP-SRPT", "laps-sd": "LAPS-SD", "srpt": "SRPT",
}  # fmt: skip
OTHER = ("#CC79A7", "#F0E442", "#000000", "#8C564B")


def colour_of(spec: str, index: int = 0) -> str:
    """The colour of a policy by its name; policies of a user's own share the rest of the palette."""
    return COLOURS.get(spec.partition(":")[0], OTHER[index % len(OTHER)])


def plot_comparison(comparison: "Comparison", ax: "Axes | None" = None) -> "Axes":
    """Mean latency per policy with its 95 % interval over seeds, the tail written beside it, and the bound."""
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=(7.0, 3.9), layout="constrained")
    records = comparison.records
    means = [comparison.latency(policy) for policy in comparison.policies]
    values = np.array([m.value for m in means])
    half = np.nan_to_num([(m.high - m.low) / 2 for m in means])
    colours = [colour_of(policy, i) for i, policy in enumerate(comparison.policies)]
    position = np.arange(len(values))
    ax.barh(position, values, xerr=half, color=colours, height=0.62, capsize=3)
    right = float((values + half).max())
    for y, value, spread, record in zip(position.tolist(), values, half, records, strict=True):
        interval = f" ± {spread:.2g}" if spread else ""
        tail = f"p99 {record['p99_latency_s']:.3g} s, worst slowdown {record['max_slowdown']:.3g}"
        ax.text(float(value + spread) + 0.02 * right, y, f"{value:.3g}{interval} s\n{tail}", va="center", fontsize=8)
    bound = float(comparison.runs["bound_s"].mean())
    if np.isfinite(bound):
        ax.axvline(bound, color="black", linestyle="--", linewidth=1)
        ax.annotate(f"bound {bound:.3g} s", (bound, -0.5), xytext=(3, 0), textcoords="offset points", fontsize=8)
    ax.set_yticks(position, comparison.policies)
    ax.set_ylim(len(values) - 0.5, -0.75)
    ax.set_xlim(0, 1.45 * right)
    ax.set_xlabel("mean latency, s (95 % interval over seeds)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("\n".join(textwrap.wrap(comparison.caption, 105)), fontsize=8, loc="left")
    return ax
