"""Schedules as bars, as in the paper's Figure 1: when each of the first requests waited and ran, a panel a policy."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.engine.timeline import Timeline
from sim.figures.latency import colour_of
from traces.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 10
BARS = {"rounds": (0.62, None), "prefill": (0.62, "#333333"), "swap": (0.9, "#000000")}


def save_gantt(
    timelines: Mapping[str, Timeline], arrival_ns: Mapping[str, NDArray[np.int64]], path: Path, rows: int = ROWS
) -> None:
    """`plot_schedules` into `path`, in the format of its suffix."""
    figure = plot_schedules(timelines, arrival_ns, rows)
    write_whole(path, lambda p: figure.savefig(p, dpi=160))


def plot_schedules(
    timelines: Mapping[str, Timeline], arrival_ns: Mapping[str, NDArray[np.int64]], rows: int = ROWS
) -> "Figure":
    """The first `rows` requests of each policy's run, a panel a policy.

    Parameters
    ----------
    arrival_ns : of all requests, (N,), by policy.
    """
    from sim.figures.picture import Picture

    rows = min(rows, *(len(arrivals) for arrivals in arrival_ns.values()))
    figure = Picture(figsize=(7.0, 0.55 + len(timelines) * (0.42 + 0.155 * rows)), layout="constrained")
    panels = figure.subplots(len(timelines), 1, sharex=True, squeeze=False)[:, 0]
    for index, (ax, (policy, timeline)) in enumerate(zip(panels, timelines.items(), strict=True)):
        plot_gantt(timeline, policy, arrival_ns[policy][:rows], ax, colour_of(policy, index))
    panels[-1].set_xlim(left=0)
    panels[-1].set_xlabel(
        "time, s (tick: arrival; line: in the system; bar: running, dark in a prefill, black while its cache moves)",
        fontsize=8,
    )
    return figure


def plot_gantt(timeline: Timeline, policy: str, arrival_ns: NDArray[np.int64], ax: "Axes", colour: str) -> None:
    """One policy: a line from a request's arrival to its end, bars where it ran; dark prefills, black moves."""
    count = len(arrival_ns)
    ends = np.zeros(count)
    for span in timeline.spans:
        if span.request >= count or span.kind == "waiting":
            continue
        height, shade = BARS.get(span.kind, BARS["swap"])
        start, end = span.start_ns / 1e9, span.end_ns / 1e9
        ax.barh(span.request, end - start, left=start, height=height, color=shade or colour, linewidth=0)
        ends[span.request] = max(ends[span.request], end)
    arrivals = arrival_ns / 1e9
    ax.hlines(range(count), arrivals, ends, color="#bbbbbb", linewidth=1, zorder=0)
    ax.plot(arrivals, range(count), "|", color="black", markersize=6)
    ax.set_ylim(count - 0.4, -0.6)
    ax.set_yticks(range(count), [str(i) for i in range(count)], fontsize=6)
    ax.set_ylabel("request", fontsize=8)
    mean = float((ends - arrivals).mean())
    ax.set_title(f"{policy}: mean latency of these {count} requests {mean:.3g} s", fontsize=8, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
