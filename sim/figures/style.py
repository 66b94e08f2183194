"""What all figures share: the sizes of a page, the policies' names and colours, plain axes, lines
with intervals.
"""

from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

PAGE, COLUMN = 7.0, 3.5  # inches: the width of a page's text, and of one of two columns
SMALL = 7  # points
DPI = 110  # on a screen

# one colour a policy everywhere, colour-blind safe (Okabe and Ito)
COLOURS = {
    "fcfs": "#999999",
    "las": "#E69F00",
    "lp-sjf": "#56B4E9",
    "lp-srpt": "#0072B2",
    "laps-sd": "#D55E00",
    "kernel-gittins": "#CC79A7",
    "srpt": "#009E73",
}
OTHER = ("#F0E442", "#000000", "#8C564B")
NAMES = {
    "fcfs": "FCFS",
    "las": "LAS",
    "las-round": "LAS every round",
    "gittins": "Gittins",
    "lp-sjf": "LP-SJF",
    "lp-sjf-mean": "LP-SJF with acceptance",
    "lp-srpt": "LP-SRPT",
    "laps-sd": "LAPS-SD",
    "kernel-gittins": "Kernel-Gittins",
    "kernel-gittins-online": "Kernel-Gittins, online",
    "laps-sd:count=3": "LAPS-SD by count",
    "lp-srpt:switch_penalty=1": "LP-SRPT with a lead",
    "laps-sd:switch_penalty=1": "LAPS-SD with a lead",
    "kernel-gittins-oracle": "Kernel-Gittins, oracle",
    "srpt": "SRPT",
}
# what is no policy (data sets, parts, parameters): Tol's bright scheme, none of whose colours is a
# policy's
SERIES = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377", "#66CCEE")


def colour_of(spec: str, index: int = 0) -> str:
    """The colour of a policy by its name; policies of a user's own share the rest of the
    palette.
    """
    return COLOURS.get(spec.partition(":")[0], OTHER[index % len(OTHER)])


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure in inches, which notebooks show by itself, without pyplot's global state."""
    return _picture()(figsize=(width, height), layout="constrained")


@cache
def _picture() -> "type[Figure]":
    """The class of such figures, made with the first, which loads matplotlib."""
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png", dpi=DPI)
            return buffer.getvalue()

    return Picture


def dress(ax: "Axes", x: str = "", y: str = "", title: str = "") -> "Axes":
    """Labels, small ticks, no box."""
    ax.set_xlabel(x, fontsize=SMALL + 1)
    ax.set_ylabel(y, fontsize=SMALL + 1)
    ax.set_title(title, fontsize=SMALL + 1, loc="left")
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def interval_line(
    ax: "Axes", x: "ArrayLike", value: "ArrayLike", high: "ArrayLike", *, colour: str, **style: Any
) -> None:
    """Dots joined by a line, each with its symmetric interval, which ends at `high`; all (N,)."""
    half = np.asarray(high, dtype=float) - np.asarray(value, dtype=float)
    whole: dict[str, Any] = {
        "marker": "o",
        "markersize": 3,
        "linewidth": 1.2,
        "elinewidth": 0.8,
        **style,
    }
    ax.errorbar(np.asarray(x), np.asarray(value), half, color=colour, **whole)
