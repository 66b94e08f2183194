"""The figures of the LAPS-SD paper, drawn from what was measured and simulated. Sizes are a page's or a column's."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from policies import LapsSD
from sim.engine import Timeline
from sim.experiment.stability import running_acceptance, stable_rounds
from sim.figures.gantt import plot_gantt
from sim.figures.latency import colour_of
from traces import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE, COLUMN = 7.0, 3.5  # inches
SMALL = 7
QUEUE_COLOURS = ("#FDE725", "#7AD151", "#22A884", "#2A788E", "#414487", "#440154")  # viridis: high priority is bright
SERIES = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377", "#66CCEE")


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure in inches."""
    from sim.figures.picture import Picture

    return Picture(figsize=(width, height), layout="constrained")


def dress(ax: "Axes", x: str = "", y: str = "", title: str = "") -> "Axes":
    """Labels, small ticks, no box."""
    ax.set_xlabel(x, fontsize=SMALL + 1)
    ax.set_ylabel(y, fontsize=SMALL + 1)
    ax.set_title(title, fontsize=SMALL + 1, loc="left")
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def schedules(timelines: Mapping[str, Timeline], arrival_ns: NDArray[np.int64]) -> "Figure":
    """Figure 1: a few requests under each policy, a panel a policy."""
    figure = new_figure(PAGE, 0.4 + 0.85 * len(timelines))
    panels = figure.subplots(len(timelines), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (policy, timeline) in zip(panels, timelines.items(), strict=True):
        plot_gantt(timeline, policy, arrival_ns, ax, colour_of(policy))
        title = ax.get_title(loc="left").replace(f" of these {len(arrival_ns)} requests", "")
        ax.set_title(title, fontsize=SMALL + 1, loc="left")
        ax.set_ylabel("request", fontsize=SMALL)
    panels[-1].set_xlim(left=0)
    dress(panels[-1], "time, s", "", panels[-1].get_title(loc="left")).set_ylabel("request", fontsize=SMALL)
    return figure


def switching(
    lengths: NDArray[np.float64], shares: Mapping[str, NDArray[np.float64]], paper_tokens: int, paper_share: float
) -> "Figure":
    """Figure 2: one switch over a request's inference time, in percent, by output length and way of switching."""
    figure = new_figure(COLUMN, 2.7)
    ax = dress(figure.subplots(), "output length, tokens", "one switch / inference time, %")
    for colour, (way, share) in zip(SERIES, shares.items(), strict=False):
        ax.plot(lengths, 100 * share, color=colour, linewidth=1.4, label=way)
    ax.plot([paper_tokens], [100 * paper_share], "k*", markersize=9, label=f"paper: ~{paper_share:.0%}")
    ax.set_yscale("log")
    ax.set_xlim(0, lengths[-1])
    ax.set_ylim(top=200)
    ax.legend(fontsize=SMALL, frameon=False, ncols=2, loc="upper right")
    return figure


def acceptance(trace: Trace, rows: Sequence[int], policy: LapsSD) -> "Figure":
    """Figure 3: the running acceptance of three requests, and the round at which each becomes perceptible."""
    figure = new_figure(COLUMN, 2.7)
    ax = dress(figure.subplots(), "round", "running acceptance rate")
    stable = stable_rounds(trace, policy)
    for colour, row in zip(SERIES, rows, strict=False):
        rate = running_acceptance(trace, row)
        ax.plot(
            np.arange(1, len(rate) + 1),
            rate,
            color=colour,
            linewidth=1.2,
            label=f"{trace.dataset[row]}, {int(stable[row])}",
        )
        at = int(stable[row])
        ax.plot([at], [rate[at - 1]], "o", color=colour, markersize=6, markeredgecolor="black")
    ax.set_ylim(0, 1)
    ax.set_xlim(0, max(int(trace.rounds[row]) for row in rows) + 1)
    ax.legend(fontsize=SMALL, frameon=False, title="request of, stable at round", title_fontsize=SMALL)
    return figure


def queue_structure(
    log: Sequence[tuple[int, int, int, bool]], timeline: Timeline, arrival_ns: NDArray[np.int64],
    finish_ns: NDArray[np.int64], queues: int,
) -> "Figure":  # fmt: skip
    """Figure 4: which request was in which queue when, in a real run.

    Parameters
    ----------
    log : (ns, request, queue, perceptible) after each round, in order of time
    """
    figure = new_figure(PAGE, 0.9 + 0.21 * len(arrival_ns))
    ax = dress(figure.subplots(), "time, s", "request, in order of arrival")
    shades = [QUEUE_COLOURS[round(q * (len(QUEUE_COLOURS) - 1) / max(1, queues - 1))] for q in range(queues)]
    for index in range(len(arrival_ns)):
        own = [(arrival_ns[index], 1, False), *((at, q, p) for at, i, q, p in log if i == index)]
        ends = [*(at for at, _, _ in own[1:]), finish_ns[index]]
        since = next((at for at, _, perceptible in own if perceptible), None)
        for (at, queue, _), end in zip(own, ends, strict=True):
            ax.barh(index, (end - at) / 1e9, left=at / 1e9, height=0.34, color=shades[queue - 1], linewidth=0)
        if since is not None:
            ax.plot([since / 1e9], [index], "D", color="white", markeredgecolor="black", markersize=3.5, zorder=4)
    for span in timeline.spans:
        if span.kind not in ("rounds", "prefill"):
            continue
        # a stretch of rounds may cross queues: cut it where they change
        turns = [(at, q) for at, i, q, _ in log if i == span.request]
        cuts = [span.start_ns, *(at for at, _ in turns if span.start_ns < at < span.end_ns), span.end_ns]
        for start, end in itertools.pairwise(cuts):
            queue = next((q for at, q in reversed(turns) if at <= start), 1)
            ax.barh(
                span.request, (end - start) / 1e9, left=start / 1e9, height=0.82, color=shades[queue - 1], linewidth=0
            )
    for queue, shade in enumerate(shades, 1):
        ax.barh(0, 0, color=shade, label=f"queue {queue}")
    ax.plot([], [], "D", color="white", markeredgecolor="black", markersize=3.5, label="becomes perceptible")
    ax.set_ylim(len(arrival_ns) - 0.4, -0.6)
    ax.set_yticks(range(len(arrival_ns)))
    ax.set_xlim(left=0)
    ax.legend(fontsize=SMALL, frameon=False, ncols=queues + 1, loc="lower left", bbox_to_anchor=(0, 1.0))
    return figure


def latency(rows: pd.DataFrame, datasets: Sequence[str], policies: Sequence[str]) -> "Figure":
    """Figure 5: mean latency with 95 % intervals by number of requests, data set and way to arrive."""
    figure = new_figure(PAGE, 4.4)
    axes = figure.subplots(2, len(datasets), sharex=True, squeeze=False)
    for line, (at_once, how) in enumerate(((False, "Poisson, load 0.8"), (True, "all at once"))):
        for column, dataset in enumerate(datasets):
            ax = dress(axes[line, column], "requests" if line else "", "" if column else f"{how}:\nmean latency, s",
                       "" if line else dataset)  # fmt: skip
            some = rows[(rows["dataset"] == dataset) & (rows["all_at_once"] == at_once)]
            for place, policy in enumerate(policies):
                own = some[some["policy"] == policy].sort_values("requests")
                nudge = (place - len(policies) / 2) * 0.35
                half = (own["high_s"] - own["mean_s"]).to_numpy()
                ax.errorbar(own["requests"] + nudge, own["mean_s"], half, color=colour_of(policy), marker="o",
                            markersize=2.5, linewidth=1.1, elinewidth=0.8, label=policy)  # fmt: skip
            bound = some.drop_duplicates("requests").sort_values("requests")
            ax.plot(bound["requests"], bound["bound_s"], "k--", linewidth=0.9, label="bound")
            ax.set_ylim(bottom=0)
            ax.set_xticks(sorted(some["requests"].unique()))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    handles, labels = [*handles[1:], handles[0]], [*labels[1:], labels[0]]  # the bound last
    figure.legend(handles, labels, fontsize=SMALL + 0.5, frameon=False, ncols=len(labels), loc="outside upper center")
    return figure


def number_of_queues(rows: pd.DataFrame) -> "Figure":
    """Figure 6: latency against that with K = 4, and how often each K is best; Sup_1 scaled with K, and fixed."""
    figure = new_figure(PAGE, 4.6)
    axes = figure.subplots(2, 2, sharex="col", sharey="row", height_ratios=(1.25, 1))
    requests = sorted(rows["requests"].unique())
    image = None
    for column, (rule, title) in enumerate((("scaled", "Sup₁ scaled with K"), ("fixed", "Sup₁ fixed"))):
        ax = dress(axes[0, column], "", "" if column else "mean latency\nagainst K = 4, %", title)
        some = rows[rows["sup_1"] == rule]
        for colour, count in zip(SERIES, requests, strict=False):
            own = some[some["requests"] == count].sort_values("K")
            ax.errorbar(own["K"] + (count - 30) / 250, own["percent"], own["high"] - own["percent"], color=colour,
                        marker="o", markersize=2.5, linewidth=1.1, elinewidth=0.8,
                        label=f"{count} requests")  # fmt: skip
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(-2, 300)
        ax.set_yticks([-1, 0, 1, 10, 100], ["−1", "0", "1", "10", "100"])
        below = dress(axes[1, column], "K, queues", "" if column else "requests")
        share = some.pivot(index="requests", columns="K", values="best")
        image = below.imshow(100 * share.to_numpy(), cmap="Blues", vmin=0, vmax=100, aspect="auto",
                             extent=(0.5, share.shape[1] + 0.5, len(requests) - 0.5, -0.5))  # fmt: skip
        for (row, k), value in np.ndenumerate(share.to_numpy()):
            if value >= 0.005:
                below.text(k + 1, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=SMALL,
                           color="white" if value > 0.6 else "black")  # fmt: skip
        below.set_yticks(range(len(requests)), [str(r) for r in requests])
        below.set_xticks([int(k) for k in share.columns])
    axes[0, 0].legend(fontsize=SMALL, frameon=False, loc="upper right")
    bar = figure.colorbar(image, ax=axes[1, :], label="best K, % of resamples")  # type: ignore[arg-type]
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label("best K, % of resamples", fontsize=SMALL)
    return figure


def estimate_error(rows: pd.DataFrame, datasets: Sequence[Any], paper: float) -> "Figure":
    """Figure 7: the mean relative error of T̃ at the transition, and of its parts alone, by data set."""
    predictors = list(dict.fromkeys(rows["predictor"]))
    figure = new_figure(PAGE, 2.7)
    axes = figure.subplots(1, len(predictors), sharey=True, squeeze=False)[0]
    parts = (("total", "all together"), ("length", "length alone"), ("acceptance", "acceptance alone"),
             ("cost", "round cost alone"))  # fmt: skip
    for ax, predictor in zip(axes, predictors, strict=True):
        dress(ax, "", "mean |T̃ − T| / T, %" if ax is axes[0] else "", f"lengths: {predictor}")
        for place, (part, label) in enumerate(parts):
            for x, dataset in enumerate(datasets):
                own = rows[(rows["predictor"] == predictor) & (rows["dataset"] == dataset)]
                value, high = float(own[part].iloc[0]), float(own[f"{part}_high"].iloc[0])
                half = 100 * np.nan_to_num(high - value)
                ax.bar(x + (place - 1.5) * 0.2, 100 * value, 0.18, yerr=half, capsize=1.5, color=SERIES[place],
                       error_kw={"linewidth": 0.8}, label=label if x == 0 else None)  # fmt: skip
        ax.axhline(100 * paper, color="black", linestyle="--", linewidth=0.9, label=f"paper: {paper:.2%}")
        ax.set_xticks(range(len(datasets)), datasets, fontsize=SMALL, rotation=30, ha="right")
        ax.set_yscale("log")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=SMALL, frameon=False, ncols=5, loc="outside upper center")
    return figure
