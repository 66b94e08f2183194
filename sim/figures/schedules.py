"""Figures of schedules: when each request waited and ran, and in which queue it was.

A table of spans has the columns `kind` (`rounds`, `prefill`, `waiting`, or a KV transfer),
`request` (numbered by arrival), `start_ns` and `end_ns`.
"""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.sim.figures.style import NAMES, PAGE, SMALL, colour_of, dress, in_own_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 10
BARS = {"rounds": (0.62, None), "prefill": (0.62, "#333333"), "swap": (0.9, "#000000")}
QUEUES = (
    "#FDE725",
    "#7AD151",
    "#22A884",
    "#2A788E",
    "#414487",
    "#440154",
)  # viridis: high priority is bright
KEY = (
    "time, s (tick: arrival; line: in the system; bar: running; dark: prefill; black: KV transfer)"
)


@in_own_style
def plot_schedules(
    spans: Mapping[str, pd.DataFrame], arrival_ns: Mapping[str, NDArray[np.int64]], rows: int = ROWS
) -> "Figure":
    """Draw the first `rows` requests of each policy's run, one panel per policy.

    Parameters
    ----------
    spans : the spans of a run, by policy.
    arrival_ns : arrival times of all requests, (N,), by policy.
    """
    rows = min(rows, *(len(arrivals) for arrivals in arrival_ns.values()))
    figure = new_figure(PAGE, 0.55 + len(spans) * (0.42 + 0.155 * rows))
    panels = figure.subplots(len(spans), 1, sharex=True, squeeze=False)[:, 0]
    for index, (ax, (policy, own)) in enumerate(zip(panels, spans.items(), strict=True)):
        mean_s = _bars(ax, own, arrival_ns[policy][:rows], colour_of(policy, index))
        title = f"{policy}: mean latency of these {rows} requests {mean_s:.3g} s"
        dress(ax, "", "request", title).set_yticks(
            range(rows), [str(i) for i in range(rows)], fontsize=SMALL - 1
        )
    panels[-1].set_xlim(left=0)
    panels[-1].set_xlabel(KEY, fontsize=SMALL + 1)
    return figure


@in_own_style
def plot_few_requests(spans: Mapping[str, pd.DataFrame], arrival_ns: NDArray[np.int64]) -> "Figure":
    """Draw all requests of a short run, one small panel per policy.

    Parameters
    ----------
    spans : the spans of a run, by policy.
    arrival_ns : arrival times, (N,), the same under every policy.
    """
    figure = new_figure(PAGE, 0.4 + 0.85 * len(spans))
    panels = figure.subplots(len(spans), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (policy, own) in zip(panels, spans.items(), strict=True):
        mean_s = _bars(ax, own, arrival_ns, colour_of(policy))
        dress(
            ax,
            "time, s" if ax is panels[-1] else "",
            "request",
            f"{NAMES.get(policy, policy)}: mean latency {mean_s:.3g} s",
        )
        ax.set_yticks(range(len(arrival_ns)))
    panels[-1].set_xlim(left=0)
    return figure


def _bars(ax: "Axes", spans: pd.DataFrame, arrival_ns: NDArray[np.int64], colour: str) -> float:
    """Draw one run, and return its mean latency in seconds.

    A line extends from a request's arrival to its end; bars mark the time in which it ran.
    """
    count = len(arrival_ns)
    ends = np.zeros(count)
    own = spans[(spans["request"] < count) & (spans["kind"] != "waiting")]
    for kind, request, start_ns, end_ns in own[
        ["kind", "request", "start_ns", "end_ns"]
    ].itertuples(index=False):
        height, shade = BARS.get(kind, BARS["swap"])
        start, end = start_ns / 1e9, end_ns / 1e9
        ax.barh(request, end - start, left=start, height=height, color=shade or colour, linewidth=0)
        ends[request] = max(ends[request], end)
    arrivals = arrival_ns / 1e9
    ax.hlines(range(count), arrivals, ends, color="#bbbbbb", linewidth=1, zorder=0)
    ax.plot(arrivals, range(count), "|", color="black", markersize=6)
    ax.set_ylim(count - 0.4, -0.6)
    return float((ends - arrivals).mean())


@in_own_style
def plot_queues(
    turns: pd.DataFrame, spans: pd.DataFrame, requests: pd.DataFrame, queues: int
) -> "Figure":
    """Draw the queue of each request over time: thick bars where it ran, thin where it waited.

    Parameters
    ----------
    turns : `ns`, `request`, `queue`, `perceptible` after each round, in order of time.
    requests : `arrival_ns`, `finish_ns`, in order of arrival.
    queues : number of queues.
    """
    figure = new_figure(PAGE, 0.9 + 0.21 * len(requests))
    ax = dress(figure.subplots(), "time, s", "request, in order of arrival")
    shades = [QUEUES[round(q * (len(QUEUES) - 1) / max(1, queues - 1))] for q in range(queues)]

    def bar(request: int, start_ns: int, end_ns: int, queue: int, height: float) -> None:
        ax.barh(
            request,
            (end_ns - start_ns) / 1e9,
            left=start_ns / 1e9,
            height=height,
            color=shades[queue - 1],
            linewidth=0,
        )

    own = {index: turns[turns["request"] == index] for index in range(len(requests))}
    for index, (arrival_ns, finish_ns) in enumerate(
        requests[["arrival_ns", "finish_ns"]].itertuples(index=False)
    ):
        seen = own[index]
        starts, numbers = [arrival_ns, *seen["ns"]], [1, *seen["queue"]]
        for start, end, queue in zip(starts, [*starts[1:], finish_ns], numbers, strict=True):
            bar(index, start, end, queue, 0.34)
        if seen["perceptible"].any():
            since = seen.loc[seen["perceptible"], "ns"].iloc[0]
            ax.plot(
                [since / 1e9],
                [index],
                "D",
                color="white",
                markeredgecolor="black",
                markersize=3.5,
                zorder=4,
            )
    running = spans[spans["kind"].isin(["rounds", "prefill"])]
    for request, start_ns, end_ns in running[["request", "start_ns", "end_ns"]].itertuples(
        index=False
    ):
        # a span of rounds may cover several queues: cut it where the queue changes
        ns, numbers = own[request]["ns"].tolist(), own[request]["queue"].tolist()
        cuts = [start_ns, *(at for at in ns if start_ns < at < end_ns), end_ns]
        for start, end in itertools.pairwise(cuts):
            queue = next(
                (q for at, q in zip(reversed(ns), reversed(numbers), strict=True) if at <= start), 1
            )
            bar(request, start, end, queue, 0.82)
    for queue, shade in enumerate(shades, 1):
        ax.barh(0, 0, color=shade, label=f"queue {queue}")
    ax.plot(
        [],
        [],
        "D",
        color="white",
        markeredgecolor="black",
        markersize=3.5,
        label="becomes perceptible",
    )
    ax.set_ylim(len(requests) - 0.4, -0.6)
    ax.set_yticks(range(len(requests)))
    ax.set_xlim(left=0)
    ax.legend(
        fontsize=SMALL, frameon=False, ncols=queues + 1, loc="lower left", bbox_to_anchor=(0, 1.0)
    )
    return figure
