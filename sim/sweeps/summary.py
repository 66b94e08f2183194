"""Summarise a sweep's records: the columns that vary, and plots of a metric against one or two
parameters.

The columns of records are, in this order: policy, its parameters, settings, seed, metrics and
provenance.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lapsd.sim.experiment.metrics import metric_named, over_seeds
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.figures.sweep import plot_heat, plot_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 8
POLICY = ("policy", "policy_name", "draft_policy")


def parameters_of_records(records: pd.DataFrame) -> list[str]:
    """Return the columns of policy, its parameters, and settings."""
    return [str(c) for c in records.columns[: list(records.columns).index("seed")]]


def varying(records: pd.DataFrame) -> list[str]:
    """Return the columns that have several values; a policy without a parameter does not count."""
    return [
        c
        for c in parameters_of_records(records)
        if records[c].nunique(dropna=c not in SCENARIO_FIELDS) > 1
    ]


def only(records: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Return the records that satisfy every condition `column=value`.

    Raises
    ------
    ValueError
        For an unknown column, or a value that no record has.
    """
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals or name not in parameters_of_records(records):
            raise ValueError(
                f"where {condition!r}: needs NAME=VALUE, NAME one of"
                f" {', '.join(varying(records) or parameters_of_records(records))}"
            )
        values = records[name].map(_text)
        if value not in set(values):
            raise ValueError(
                f"where {condition!r}: the values are {', '.join(sorted(set(values)))}"
            )
        records = records[values == value]
    return records


def plot_sweep(records: pd.DataFrame, x: str, y: str, hue: str | None = None) -> "Figure":
    """Plot the mean of `y` over seeds against `x` with 95 % intervals, one line per value of `hue`.

    Other parameters that vary are averaged over within each seed, and named in the title.

    Parameters
    ----------
    records : pd.DataFrame
        The records of a sweep.
    x : str
        Column on the horizontal axis.
    y : str
        Column on the vertical axis.
    hue : str or None, optional
        Column with one line per value; None: one line.

    Raises
    ------
    ValueError
        For an unknown or unsuitable column.

    Examples
    --------
    >>> import lapsd
    >>> records = lapsd.sweep(
    ...     "loads", ["fcfs", "las"], seeds=2, requests=10, load=[0.5, 0.9], workers=1
    ... )
    >>> figure = lapsd.plot_sweep(records, x="load", y="mean_latency_s", hue="policy")
    >>> figure.savefig("loads.png")
    """
    _check(records, [x] + ([hue] if hue else []), y)
    groups = [(None, records)] if hue is None else _groups(records, hue)
    if len(groups) > MOST_LINES:
        raise ValueError(
            f"hue {hue}: {len(groups)} values are more than the {MOST_LINES} lines of a plot"
        )
    texts = not pd.api.types.is_numeric_dtype(records[x])
    points, level = [], []
    for value, group in groups:
        label = "" if hue is None else _text(value) if hue in POLICY else f"{hue} {_text(value)}"
        for at, rows in group.groupby(x, sort=True):
            points.append((str(value), label, str(at) if texts else at, *over_seeds(rows, y)))
        for name, rows in _lacking(group, x):
            of_line = f", {label}" if label and label != name else ""
            level.append((f"{name}{of_line}", over_seeds(rows, y).value))
    _check_defined([row[3] for row in points] + [row[1] for row in level], y)
    return plot_lines(
        pd.DataFrame(points, columns=["line", "label", "x", "value", "low", "high"]),
        pd.DataFrame(level, columns=["policy", "value"]),
        policies=hue in POLICY,
        x=_axis(x),
        y=_in_words(y),
        title=_title(records, [x, hue]),
    )


def plot_heat_map(records: pd.DataFrame, x: str, y: str, value: str) -> "Figure":
    """Plot the mean of `value` over seeds as a heat map over the parameters `x` and `y`.

    Each cell shows its number.

    Parameters
    ----------
    records : pd.DataFrame
        The records of a sweep.
    x : str
        Column on the horizontal axis.
    y : str
        Column on the vertical axis.
    value : str
        Metric that the cells show.

    Raises
    ------
    ValueError
        For an unknown or unsuitable column.

    Examples
    --------
    >>> import lapsd
    >>> records = lapsd.sweep(
    ...     "map",
    ...     ["laps-sd"],
    ...     {"K": [2, 4]},
    ...     seeds=2,
    ...     requests=10,
    ...     load=[0.5, 0.9],
    ...     workers=1,
    ... )
    >>> figure = lapsd.plot_heat_map(records, x="K", y="load", value="mean_latency_s")
    >>> figure.savefig("map.png")
    """
    _check(records, [x, y], value)
    groups = list(records.groupby([y, x], sort=True, dropna=False))
    values = [over_seeds(rows, value).value for _, rows in groups]
    _check_defined(values, value)
    cells = pd.DataFrame([key for key, _ in groups], columns=[y, x]).assign(value=values)
    table = cells.set_index([y, x])["value"].unstack()
    return plot_heat(
        table,
        x=_axis(x),
        y=_axis(y),
        value=_in_words(value),
        title=_title(records, [x, y]),
        text=_text,
    )


def _groups(records: pd.DataFrame, name: str) -> list[tuple[Any, pd.DataFrame]]:
    """Return the records by the value of a column; records without a value are the last group."""
    return list(records.groupby(name, sort=True, dropna=False))


def _lacking(records: pd.DataFrame, x: str) -> list[tuple[str, pd.DataFrame]]:
    """Return the records that have no value of `x`, by the name of their line.

    A policy without the parameter `x` gives its name; a setting without a value is "NAME -".
    """
    lacking = records[records[x].isna()]
    if x in SCENARIO_FIELDS:
        return [(f"{x} -", lacking)] if len(lacking) else []
    return [(str(policy), rows) for policy, rows in lacking.groupby("policy", sort=False)]


def _check_defined(values: Sequence[float], metric: str) -> None:
    """Check that a metric is defined somewhere in a plot."""
    if all(map(math.isnan, values)):
        raise ValueError(f"metric {metric!r}: is not defined in these runs")


def _check(records: pd.DataFrame, parameters: Sequence[str], metric: str) -> None:
    known = parameters_of_records(records)
    for name in parameters:
        if name not in known:
            raise ValueError(
                f"unknown column {name!r}: the columns that vary in this sweep are"
                f" {', '.join(varying(records)) or 'none'}"
            )
    if len(set(parameters)) < len(parameters):
        raise ValueError(f"column {parameters[0]!r}: is given twice")
    metric_named(metric)


def _title(records: pd.DataFrame, shown: Sequence[str | None]) -> str:
    """Return the title of a plot: policy and settings that all records share and that are not the
    default, the number of seeds, and the parameters averaged over.
    """
    seeds = records["seed"].nunique()
    fixed = []
    for name in ("policy_name", *SCENARIO_FIELDS):
        if name in shown or name not in records.columns:
            continue
        values, default = (
            [_text(v) for v in records[name].unique()],
            _text(SCENARIO_FIELDS[name].default if name in SCENARIO_FIELDS else None),
        )
        if len(values) == 1 and values[0] not in ("-", default):
            fixed.append(f"{name} {values[0]}")
    mixed = [n for n in varying(records) if n not in shown and n != "policy"]
    if "policy" in shown:
        mixed = [n for n in mixed if n in SCENARIO_FIELDS]
    averaged = f"; averaged over {', '.join(mixed)}" if mixed else ""
    return "; ".join(filter(None, [", ".join(fixed), f"{seeds} seeds{averaged}"])).replace(
        "policy_name", "policy"
    )


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _axis(parameter: str) -> str:
    unit = (
        SCENARIO_FIELDS[parameter].unit
        if parameter in SCENARIO_FIELDS
        else "s"
        if parameter.endswith("_s")
        else ""
    )
    return parameter + (f", {unit}" if unit and unit != parameter else "")


def _in_words(metric: str) -> str:
    unit, words = metric_named(metric).unit, metric.removesuffix("_s").replace("_", " ")
    return words if words.endswith(unit) else f"{words}, {unit}"
