"""What live runs say of the simulator, as text: one list of columns, for terminals and pages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from rich.markup import escape
from rich.table import Table

from sim.cli.tables.cells import number, table_of


class Text(NamedTuple):
    """A table of text: headings, rows, and how many columns are words."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int


def _interval(row: Mapping[Any, Any], value: str, low: str, high: str, digits: int = 1) -> str:
    shown = f"{row[value]:+.{digits}f}"
    return shown if pd.isna(row[low]) else f"{shown} [{row[low]:+.{digits}f}, {row[high]:+.{digits}f}]"


def _beside(row: Mapping[Any, Any], name: str) -> str:
    return f"{number(row[f'{name}_s'])} / {number(row[f'foretold_{name}_s'])}"


def errors_text(errors: pd.DataFrame) -> Text:
    """Latencies real and foretold by load and policy, and how far apart they are."""
    headings = (
        "load", "policy", "mean s\nreal / foretold", "p50 s\nreal / foretold", "p99 s\nreal / foretold",
        "error of the mean %\n[95 %]", "of busy time %\n[95 %]",
        "drift %\nof rounds / latency", "rank\ncorrelation", "same\norder %", "decisions\nexact",
    )  # fmt: skip
    rows = []
    for row in errors.to_dict("records"):
        drift = f"{row['busy_drift']:.1f} / {row['drift']:.1f}"
        means = [_beside(row, name) for name in ("mean", "p50", "p99")]
        off = [_interval(row, f"{k}error", f"{k}error_low", f"{k}error_high") for k in ("", "busy_")]
        exact = "-" if pd.isna(row["exact_decisions"]) else f"{row['exact_decisions']:g} of {row['seeds']}"
        same = f"{100 * row['same_order']:.0f}"
        words = (f"{row['load']:g}", row["policy"])
        rows.append((*words, *means, *off, drift, f"{row['rank_correlation']:.3f}", same, exact))
    return Text(headings, rows, 2)


def differences_text(differences: pd.DataFrame) -> Text:
    """Pairs of policies: what the second adds to the first's mean latency, real beside foretold."""
    headings = (
        "load", "against", "policy", "real s\n[95 %]", "foretold s\n[95 %]", "real %", "foretold %", "points\napart",
        "told apart\nby reality", "same sign",
    )  # fmt: skip
    rows = [
        (
            f"{row['load']:g}", row["policy"], row["other"], _interval(row, "s", "low", "high", 3),
            _interval(row, "foretold_s", "foretold_low", "foretold_high", 3), f"{row['percent']:+.1f}",
            f"{row['foretold_percent']:+.1f}", f"{row['points']:+.1f}", "yes" if row["told"] else "no",
            "yes" if row["same_sign"] else "NO",
        )
        for row in differences.to_dict("records")
    ]  # fmt: skip
    return Text(headings, rows, 3)


def table(text: Text) -> Table:
    """For a terminal."""
    made = table_of(*text.headings, left=text.words)
    for row in text.rows:
        made.add_row(*map(escape, row))
    return made
