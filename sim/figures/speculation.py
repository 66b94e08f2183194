"""Figure of when speculation pays: throughput by draft length and batch size."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lapsd.sim.figures.style import SMALL, dress, in_own_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.6, 5.6  # inches
CLOSE = 0.03  # draft lengths within this share of the best throughput are about as good
SLOWER, FASTER, BEST = "#FFFFFF", "#CFE3F1", "#7FB2D9"
LINE = "#0B3C5D"


@in_own_style
def plot_speculation(
    pays: pd.DataFrame, batches: Sequence[int], *, title: str, caption: str
) -> "Figure":
    """Draw throughput relative to plain decoding over draft length and over batch size.

    On the left, one line per batch size with 95 % bands and a star at the best draft length. On the
    right, the best speed-up over batch size, and the draft lengths that are faster than plain
    decoding.

    Parameters
    ----------
    pays : as returned by `lapsd.traces.speculation_pays`, with draft length 0.
    batches : batch sizes of the lines on the left.
    title, caption : lines above and below the figure.
    """
    from matplotlib import colormaps

    figure = new_figure(WIDTH, HEIGHT)
    panels = figure.subplot_mosaic("AB;AC", width_ratios=(1.15, 1))
    colours = [colormaps["viridis"](x) for x in np.linspace(0, 0.9, len(batches))]
    _plot_lengths(panels["A"], pays, dict(zip(batches, colours, strict=True)))
    best = best_drafts(pays)
    _plot_speedup(panels["B"], best, batches)
    _plot_region(panels["C"], pays)
    for ax in (panels["B"], panels["C"]):
        _scale(ax, best["batch"].to_numpy())
    width = int(18 * WIDTH)
    head = "\n".join(textwrap.wrap(title, int(0.66 * width)))
    figure.suptitle(head, x=0.01, ha="left", fontsize=10, fontweight="bold")
    foot = "\n".join(line for part in caption.split("\n") for line in textwrap.wrap(part, width))
    figure.supxlabel(foot, x=0.01, ha="left", fontsize=SMALL)
    return figure


def best_drafts(pays: pd.DataFrame) -> pd.DataFrame:
    """Return the row of the best draft length above 0 at each batch size, by batch size."""
    drafted = pays[pays["draft_tokens"] > 0]
    best = drafted.sort_values("over_plain", kind="stable").groupby("batch").tail(1)
    return best.sort_values("batch")


def _plot_lengths(ax: "Axes", pays: pd.DataFrame, colours: Mapping[int, Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    dress(ax, "draft tokens per round (n)", "tokens per second, relative to plain decoding (n = 0)")
    for batch, colour in colours.items():
        own = pays[pays["batch"] == batch].sort_values("draft_tokens")
        n, over = own["draft_tokens"].to_numpy(), own["over_plain"].to_numpy()
        best, plain = own.iloc[int(np.argmax(over))], own.iloc[0]
        label = f"{batch}: {_count(plain['tokens_per_s'])}"
        label += (
            f"; {_count(best['tokens_per_s'])} at n = {best['draft_tokens']:.0f}"
            if best["draft_tokens"]
            else "; n = 0 is best"
        )
        ax.plot(n, over, color=colour, marker="o", markersize=2.5, linewidth=1.4, label=label)
        ax.fill_between(
            n, own["over_plain_low"], own["over_plain_high"], color=colour, alpha=0.18, linewidth=0
        )
        star = best["draft_tokens"], best["over_plain"]
        ax.plot(
            *star,
            "*",
            color=colour,
            markersize=11,
            markeredgecolor="white",
            zorder=4,
            clip_on=False,
        )
    ax.axhline(1, color="black", linewidth=0.9)
    ax.set_ylim(0, 1.25 * _highest(pays))
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(
        title="batch size: tokens per second of plain decoding, and at the best n (star)",
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
        loc="upper right",
        ncols=2,
        alignment="left",
    )


def _plot_speedup(ax: "Axes", best: pd.DataFrame, batches: Sequence[int]) -> None:
    dress(ax, "", "relative to plain decoding", "best draft length of 1 or more")
    ax.plot(best["batch"], best["over_plain"], color=LINE, linewidth=1.4)
    low, high = best["over_plain_low"], best["over_plain_high"]
    ax.fill_between(best["batch"], low, high, color=LINE, alpha=0.18, linewidth=0)
    shown = best[best["batch"].isin(batches)]
    ax.plot(shown["batch"], shown["over_plain"], "o", color=LINE, markersize=4)
    for row in shown.itertuples():
        text = f"{row.over_plain:.2f}\nn = {row.draft_tokens}"
        ax.annotate(
            text,
            (row.batch, row.over_plain),
            (0, 7),
            textcoords="offset points",
            fontsize=SMALL,
            ha="center",
            va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )
    ax.axhline(1, color="black", linewidth=0.9)
    last = last_paying(best)
    if last and last < best["batch"].max():
        ax.axvline(last, color="black", linewidth=0.9, linestyle=":")
        ax.annotate(
            f"plain decoding\nis faster above {last}",
            (last, 1),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=SMALL,
            va="top",
        )
    ax.set_ylim(min(0.6, 0.9 * float(best["over_plain"].min())), 1.3 * _highest(best))


def last_paying(best: pd.DataFrame) -> int:
    """Return the largest batch size at which a draft length is faster than plain decoding, or 0."""
    faster = best[best["over_plain"] > 1]
    return int(faster["batch"].max()) if len(faster) else 0


def _plot_region(ax: "Axes", pays: pd.DataFrame) -> None:
    """Draw the draft lengths that are faster than plain decoding, by batch size."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    dress(ax, "batch size", "draft tokens per round (0: plain)", "draft lengths that pay")
    over = pays.pivot_table(index="draft_tokens", columns="batch", values="over_plain")
    values, top = over.to_numpy(), over.max().to_numpy()
    level = np.where(values >= (1 - CLOSE) * top, 2.0, values > 1)
    level[np.isnan(values)] = np.nan
    batches = over.columns.to_numpy(dtype=float)
    edges = np.r_[batches[0] / 1.1, np.sqrt(batches[1:] * batches[:-1]), batches[-1] * 1.02]
    n = over.index.to_numpy(dtype=float)
    colours = ListedColormap([SLOWER, FASTER, BEST])
    lengths = np.r_[n - 0.5, n[-1] + 0.5]
    ax.pcolormesh(edges, lengths, level, cmap=colours, vmin=0, vmax=2, rasterized=True)
    ax.set_ylim(lengths[0], lengths[-1])
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    labels = {BEST: f"within {100 * CLOSE:g} % of the best", FASTER: "faster", SLOWER: "slower"}
    patches = [
        Patch(facecolor=colour, edgecolor="grey", linewidth=0.4, label=label)
        for colour, label in labels.items()
    ]
    ax.legend(
        handles=patches,
        fontsize=SMALL,
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1, 0.98),
        borderpad=0,
        ncols=3,
        columnspacing=1,
        handlelength=1.2,
        handletextpad=0.4,
    )


def _scale(ax: "Axes", batches: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
    """Set a logarithmic axis of batch sizes with ticks at powers of two."""
    from matplotlib.ticker import NullLocator

    ax.set_xscale("log", base=2)
    powers = [2**k for k in range(int(batches.max()).bit_length())]
    ax.set_xticks(powers, [str(b) for b in powers])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(0.78, 1.3 * batches.max())


def _highest(pays: pd.DataFrame) -> float:
    return float(pays["over_plain_high"].fillna(pays["over_plain"]).max())


def _count(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}"
