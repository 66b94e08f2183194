"""Tables of a validation as text, for terminals and pages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from lapsd.sim.experiment.numbers import number


class Text(NamedTuple):
    """A table of text: headings, rows, and the number of leading columns that hold words."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int


def _interval(row: Mapping[Any, Any], value: str, low: str, high: str, digits: int = 1) -> str:
    shown = f"{row[value]:+.{digits}f}"
    return (
        shown if pd.isna(row[low]) else f"{shown} [{row[low]:+.{digits}f}, {row[high]:+.{digits}f}]"
    )


def _pair(row: Mapping[Any, Any], name: str) -> str:
    return f"{number(row[f'{name}_s'])} / {number(row[f'predicted_{name}_s'])}"


def latencies_text(errors: pd.DataFrame) -> Text:
    """Return measured and predicted latencies and orders, by load and policy."""
    headings = (
        "load",
        "policy",
        "mean s\nmeasured / predicted",
        "p50 s\nmeasured / predicted",
        "p99 s\nmeasured / predicted",
        "rank\ncorrelation",
        "rounds in the\nsame order %",
        "runs reproduced\nexactly",
    )
    rows = []
    for row in errors.to_dict("records"):
        exact = (
            "-"
            if pd.isna(row["exact_decisions"])
            else f"{row['exact_decisions']:g} of {row['seeds']}"
        )
        means = [_pair(row, name) for name in ("mean", "p50", "p99")]
        same = f"{100 * row['same_order']:.0f}"
        rows.append(
            (
                f"{row['load']:g}",
                row["policy"],
                *means,
                f"{row['rank_correlation']:.3f}",
                same,
                exact,
            )
        )
    return Text(headings, rows, 2)


def errors_text(errors: pd.DataFrame) -> Text:
    """Return the errors of the simulator and the drift of the machine, by load and policy."""
    headings = (
        "load",
        "policy",
        "error of mean\nlatency % [95 %]",
        "error of busy\ntime % [95 %]",
        "drift of\nrounds %",
        "drift of\nlatency %",
    )
    rows = []
    for row in errors.to_dict("records"):
        off = [
            _interval(row, f"{k}error", f"{k}error_low", f"{k}error_high") for k in ("", "busy_")
        ]
        rows.append(
            (
                f"{row['load']:g}",
                row["policy"],
                *off,
                f"{row['busy_drift']:.1f}",
                f"{row['drift']:.1f}",
            )
        )
    return Text(headings, rows, 2)


def differences_text(differences: pd.DataFrame) -> Text:
    """Return measured and predicted differences in mean latency between pairs of policies."""
    headings = (
        "load",
        "baseline",
        "policy",
        "measured s\n[95 %]",
        "predicted s\n[95 %]",
        "measured %",
        "predicted %",
        "error,\npoints",
        "statistically\nsignificant",
        "same sign",
    )
    rows = [
        (
            f"{row['load']:g}",
            row["policy"],
            row["other"],
            _interval(row, "s", "low", "high", 3),
            _interval(row, "predicted_s", "predicted_low", "predicted_high", 3),
            f"{row['percent']:+.1f}",
            f"{row['predicted_percent']:+.1f}",
            f"{row['points']:+.1f}",
            "yes" if row["significant"] else "no",
            "yes" if row["same_sign"] else "NO",
        )
        for row in differences.to_dict("records")
    ]
    return Text(headings, rows, 3)
