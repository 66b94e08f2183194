"""What live runs say of the simulator, as text: one list of columns, for terminals and pages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from lapsd.sim.experiment.numbers import number


class Text(NamedTuple):
    """A table of text: headings, rows, and how many columns are words."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int


def _interval(row: Mapping[Any, Any], value: str, low: str, high: str, digits: int = 1) -> str:
    shown = f"{row[value]:+.{digits}f}"
    return (
        shown if pd.isna(row[low]) else f"{shown} [{row[low]:+.{digits}f}, {row[high]:+.{digits}f}]"
    )


def _beside(row: Mapping[Any, Any], name: str) -> str:
    return f"{number(row[f'{name}_s'])} / {number(row[f'predicted_{name}_s'])}"


def latencies_text(errors: pd.DataFrame) -> Text:
    """Latencies by load and policy, real beside foretold, and whether requests came in the same
    order.
    """
    headings = (
        "load",
        "policy",
        "mean s\nreal / foretold",
        "p50 s\nreal / foretold",
        "p99 s\nreal / foretold",
        "rank\ncorrelation",
        "same\norder %",
        "decisions\nexact",
    )
    rows = []
    for row in errors.to_dict("records"):
        exact = (
            "-"
            if pd.isna(row["exact_decisions"])
            else f"{row['exact_decisions']:g} of {row['seeds']}"
        )
        means = [_beside(row, name) for name in ("mean", "p50", "p99")]
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
    """How far apart real and foretold are, by load and policy, beside what the machine drifted."""
    headings = (
        "load",
        "policy",
        "error of the mean %\n[95 %]",
        "of busy time %\n[95 %]",
        "drift %\nof rounds",
        "\nof latency",
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
    """Pairs of policies: what the second adds to the first's mean latency, real beside foretold."""
    headings = (
        "load",
        "against",
        "policy",
        "real s\n[95 %]",
        "foretold s\n[95 %]",
        "real %",
        "foretold %",
        "points\napart",
        "told apart\nby reality",
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
