"""Style shared by all figures: sizes, names and colours of policies, axes, lines with intervals."""

from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from lapsd.sim.figures.saving import image, own_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

P = ParamSpec("P")
R = TypeVar("R")
PAGE, COLUMN = 7.0, 3.5  # inches: the width of a page's text, and of one of two columns
SMALL = 7  # points
DPI = 110  # on a screen

# one colour per policy in all figures, colour-blind safe (Okabe and Ito)
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
    "kernel-gittins:age_weight=0.2": "Kernel-Gittins with age weight 0.2",
    "laps-sd:count=3": "LAPS-SD after three rounds",
    "lp-srpt:switch_penalty=1": "LP-SRPT with switch penalty",
    "laps-sd:switch_penalty=1": "LAPS-SD with switch penalty",
    "kernel-gittins-oracle": "Kernel-Gittins, oracle",
    "srpt": "SRPT",
    "alise": "ALISE",
    "fastserve": "FastServe",
    "a-min": "A-min",
    "tie": "TIE",
    "lp-srpt:c=0.8": "LP-SRPT, c = 0.8",
    "boost:theta=0.1": "Boost, θ = 0.1",
    "boost": "Boost",
    "boost:theta=1": "Boost, θ = 1",
}
# for data sets, parts and parameters: Tol's bright scheme, which shares no colour with a policy
SERIES = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377", "#66CCEE")


def colour_of(spec: str, index: int = 0) -> str:
    """Return the colour of a policy; policies without one share the rest of the palette."""
    return COLOURS.get(spec.partition(":")[0], OTHER[index % len(OTHER)])


def in_own_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Return the function so that it draws with matplotlib's default settings."""

    @wraps(draw)
    def drawn(*arguments: P.args, **options: P.kwargs) -> R:
        with own_style():
            return draw(*arguments, **options)

    return drawn


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, sized in inches, that notebooks display without pyplot."""
    with own_style():
        return _picture()(figsize=(width, height), layout="constrained")


@cache
def _picture() -> "type[Figure]":
    """Return the class of these figures; the first call imports matplotlib."""
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            return image(self, format="png", dpi=DPI)

    return Picture


def dress(ax: "Axes", x: str = "", y: str = "", title: str = "") -> "Axes":
    """Set labels and title, make ticks small, and hide the top and right spines."""
    ax.set_xlabel(x, fontsize=SMALL + 1)
    ax.set_ylabel(y, fontsize=SMALL + 1)
    ax.set_title(title, fontsize=SMALL + 1, loc="left")
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def interval_line(
    ax: "Axes", x: "ArrayLike", value: "ArrayLike", high: "ArrayLike", *, colour: str, **style: Any
) -> None:
    """Draw dots joined by a line, each with a symmetric interval that ends at `high`; all (N,)."""
    half = np.asarray(high, dtype=float) - np.asarray(value, dtype=float)
    whole: dict[str, Any] = {
        "marker": "o",
        "markersize": 3,
        "linewidth": 1.2,
        "elinewidth": 0.8,
        **style,
    }
    ax.errorbar(np.asarray(x), np.asarray(value), half, color=colour, **whole)


def band_line(
    ax: "Axes", x: "ArrayLike", value: "ArrayLike", high: "ArrayLike", *, colour: str, label: str
) -> None:
    """Draw dots joined by a line in a symmetric band that ends at `high`; all (N,).

    Bands of several lines can overlap at the same `x` and stay readable.
    """
    middle = np.asarray(value, dtype=float)
    half = np.nan_to_num(np.asarray(high, dtype=float) - middle)
    ax.fill_between(np.asarray(x), middle - half, middle + half, color=colour, alpha=0.15, lw=0)
    ax.plot(np.asarray(x), middle, "o-", color=colour, markersize=2.5, linewidth=1.1, label=label)
