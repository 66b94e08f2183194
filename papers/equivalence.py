"""Tests of equivalence: is a difference shown to be within a margin?

"Not significantly different" says only that an interval includes 0, which a wide one does easily.
A difference is shown to be at most a margin if a one-sided test at 5 % rejects that it is more, and
to be within ± a margin if two such tests do (TOST): that is, if its 90 % interval ends below the
margin, or is inside ± the margin.
"""

from typing import Any

import pandas as pd

from lapsd.sim.experiment.statistics import CONFIDENCE

MARGIN = 2.0  # percent: a difference that hardly matters
LEVEL = 0.05  # of each one-sided test


def inner(rows: pd.DataFrame, name: str = "percent") -> tuple["pd.Series[Any]", "pd.Series[Any]"]:
    """Return the ends of the 90 % intervals of rows with 95 % intervals over seeds.

    Parameters
    ----------
    rows : the columns `seeds`, and `percent`, `low` and `high`, or `NAME`, `NAME_low`, `NAME_high`.
    """
    from scipy.special import stdtrit

    freedom = rows["seeds"] - 1
    part = stdtrit(freedom, 1 - LEVEL) / stdtrit(freedom, (1 + CONFIDENCE) / 2)
    low, high = ("low", "high") if name == "percent" else (f"{name}_low", f"{name}_high")
    value = rows[name]
    return value - part * (value - rows[low]), value + part * (rows[high] - value)


def at_most(rows: pd.DataFrame, margin: float, name: str = "percent") -> "pd.Series[Any]":
    """Return for each row whether its difference is shown to be at most a margin."""
    return inner(rows, name)[1] <= margin


def within(rows: pd.DataFrame, margin: float, name: str = "percent") -> "pd.Series[Any]":
    """Return for each row whether its difference is shown to be within ± a margin."""
    low, high = inner(rows, name)
    return (low >= -margin) & (high <= margin)
