"""Figures of a sweep: a metric against one parameter, with intervals over seeds, or over two as a heat map."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sim.experiment.metrics import METRICS as ALL
from sim.experiment.setting import KNOBS as SETTINGS
from sim.experiment.statistics import mean_interval
from sim.figures.latency import OTHER, colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS = {"_s": ", s", "utilisation": "", "_share": ""}
MOST_LINES = 8
METRICS = tuple(metric.name for metric in ALL)
POLICY = ("policy", "policy_name")


def parameters_of_records(records: pd.DataFrame) -> list[str]:
    """The columns that say what was run: policy, its parameters, settings."""
    return [str(c) for c in records.columns[: list(records.columns).index("seed")]]


def varying(records: pd.DataFrame) -> list[str]:
    """Those of them that take more than one value; that a policy lacks a parameter is none."""
    return [c for c in parameters_of_records(records) if records[c].nunique(dropna=c not in SETTINGS) > 1]


def only(records: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """The records that fulfil every condition `column=value`.

    Raises
    ------
    ValueError
        For a column that is not there, or a value that no record has.
    """
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals or name not in parameters_of_records(records):
            raise ValueError(f"--where {condition!r}: needs NAME=VALUE, NAME one of {', '.join(varying(records))}")
        there = records[name].map(_text)
        if value not in set(there):
            raise ValueError(f"--where {condition!r}: the values are {', '.join(sorted(set(there)))}")
        records = records[there == value]
    return records


def plot_sweep(records: pd.DataFrame, x: str, y: str, hue: str | None = None) -> "Figure":
    """Mean of `y` over seeds against `x`, a line each value of `hue`, with 95 % intervals.

    What else varies is averaged over, within each seed, and named in the title.

    Raises
    ------
    ValueError
        For a column that is not there, or not of the right kind.
    """
    _check(records, [x] + ([hue] if hue else []), y)
    from sim.figures.picture import Picture

    figure = Picture(figsize=(7.0, 3.9), layout="constrained")
    ax = figure.subplots()
    groups = [(None, records)] if hue is None else list(records.groupby(hue, sort=True))
    if len(groups) > MOST_LINES:
        raise ValueError(f"--hue {hue}: {len(groups)} values are more than the {MOST_LINES} that can be told apart")
    words = not pd.api.types.is_numeric_dtype(records[x])
    places = {v: i for i, v in enumerate(sorted(records[x].dropna().unique().tolist(), key=str))}
    for index, (value, group) in enumerate(groups):
        found = []
        for at, rows in group.groupby(x, sort=True):
            interval = mean_interval(rows.groupby("seed")[y].mean())
            found.append((places[at] if words else at, *interval))
        if not found:
            continue  # a policy that lacks the parameter has no place on its axis
        at_x, mean, low, high = np.array(found, dtype=float).T
        colour = colour_of(str(value), index) if hue in POLICY else _colour(index)
        label = None if hue is None else _text(value) if hue in POLICY else f"{hue} {_text(value)}"
        spread = np.nan_to_num([mean - low, high - mean])
        ax.errorbar(at_x, mean, spread, color=colour, marker="o", markersize=4, capsize=3, linewidth=1.4, label=label)
    lacking = records[records[x].isna()] if hue is None or hue in POLICY else records.iloc[:0]
    for name, rows in lacking.groupby("policy", sort=False):
        mean = float(rows.groupby("seed")[y].mean().mean())
        ax.axhline(mean, color=colour_of(str(name)), linestyle="--", linewidth=1)
        ax.annotate(str(name), (1, mean), xycoords=("axes fraction", "data"), xytext=(3, -3),
                    textcoords="offset points", fontsize=7)  # fmt: skip
    if words:
        ax.set_xticks(list(places.values()), [str(v) for v in places])
    ax.set_xlabel(x + _unit(x))
    ax.set_ylabel(f"{y.removesuffix('_s').replace('_', ' ')}{_unit(y)} (95 % over seeds)")
    ax.spines[["top", "right"]].set_visible(False)
    if hue is not None:
        ax.legend(frameon=False, fontsize=8)
    ax.set_title(_title(records, [x, hue]), fontsize=8, loc="left")
    return figure


def plot_heat_map(records: pd.DataFrame, x: str, y: str, value: str) -> "Figure":
    """Mean of `value` over seeds as a heat map over the parameters `x` and `y`, each cell with its figure.

    Raises
    ------
    ValueError
        For a column that is not there, or not of the right kind.
    """
    _check(records, [x, y], value)
    from sim.figures.picture import Picture

    table = records.pivot_table(index=y, columns=x, values=value, aggfunc="mean").sort_index(ascending=False)
    figure = Picture(figsize=(max(4.0, 1.2 + 0.62 * table.shape[1]), max(2.6, 1.3 + 0.42 * table.shape[0])),
                    layout="constrained")  # fmt: skip
    ax = figure.subplots()
    image = ax.imshow(table.to_numpy(dtype=float), cmap="cividis_r", aspect="auto")
    _cells(ax, table)
    ax.set_xticks(range(table.shape[1]), [_text(v) for v in table.columns])
    ax.set_yticks(range(table.shape[0]), [_text(v) for v in table.index])
    ax.set_xlabel(x + _unit(x))
    ax.set_ylabel(y + _unit(y))
    figure.colorbar(image, label=value.removesuffix("_s").replace("_", " ") + _unit(value))
    ax.set_title(_title(records, [x, y], int(13 * figure.get_figwidth())), fontsize=8, loc="left")
    return figure


def _cells(ax: "Axes", table: pd.DataFrame) -> None:
    values = table.to_numpy(dtype=float)
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            shade = "white" if value > middle else "black"
            ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=7, color=shade)


def _check(records: pd.DataFrame, parameters: Sequence[str], metric: str) -> None:
    known = parameters_of_records(records)
    for name in parameters:
        if name not in known:
            raise ValueError(
                f"column {name!r}: what varies in this sweep is {', '.join(varying(records)) or 'nothing'}"
            )
    if metric not in METRICS:
        raise ValueError(f"column {metric!r}: the metrics are {', '.join(METRICS)}")


def _title(records: pd.DataFrame, shown: Sequence[str | None], width: int = 105) -> str:
    seeds = records["seed"].nunique()
    fixed = []
    for name in ("policy_name", "requests", "load", "dataset", "length_predictor", "batch"):
        values = records[name].unique()
        if name not in shown and len(values) == 1 and _text(values[0]) != "-":
            fixed.append(f"{name} {_text(values[0])}")
    mixed = [n for n in varying(records) if n not in shown and n != "policy"]
    if "policy" in shown:
        mixed = [n for n in mixed if n in SETTINGS]
    averaged = f"; averaged over {', '.join(mixed)}" if mixed else ""
    text = f"{', '.join(fixed)}; {seeds} seeds{averaged}".replace("policy_name", "policy")
    return "\n".join(textwrap.wrap(text, width))


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _unit(name: str) -> str:
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def _colour(index: int) -> str:
    palette = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", *OTHER)
    return palette[index % len(palette)]
