"""Tables of a sweep: its configurations by a metric, and the best ones."""

from collections.abc import Sequence

import pandas as pd
from rich.markup import escape
from rich.table import Table

from lapsd.cli.tables.cells import number_or_text, table_of
from lapsd.sim.experiment.metrics import RELIABLE, by_group, metric_named, observations
from lapsd.sim.experiment.numbers import number
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.sweeps.best import Verdict

MOST_ROWS, MOST_NOT_WORSE = 20, 12
FEW = f"* of each run's own requests: fewer than {RELIABLE} of them are expected above it"


def sweep_table(records: pd.DataFrame, name: str, varying: Sequence[str]) -> Table:
    """Return a table of the configurations with the lowest values of a metric.

    Its columns are the parameters that vary, the mean of the metric over seeds, the standard
    deviation and the number of runs.
    """
    metric = metric_named(name)
    names = [n for n in varying if n != "policy_name"] or ["policy"]
    shown = ["policy", *(n for n in names if n in SCENARIO_FIELDS)] if "policy" in names else names
    rows = by_group(records, shown, metric).sort_values("value")
    title = f"{len(records):,} runs, {records['seed'].nunique()} seeds; lowest {name} first"
    mark = "*" * metric.is_unreliable(int(observations(records).min()))
    if mark:
        title += f"\n{FEW}"
    table = table_of(*shown, name + mark, "sd", "runs", left=len(shown))
    table.title, table.title_justify = title, "left"
    for row in rows.head(MOST_ROWS).to_dict("records"):
        values = [number_or_text(None if row[n] != row[n] else row[n]) for n in shown]
        table.add_row(
            *map(escape, values), number(row["value"], 4), number(row["sd"], 2), str(row["runs"])
        )
    if len(rows) > MOST_ROWS:
        table.add_row(f"... and {len(rows) - MOST_ROWS:,} more")
    return table


def best_tables(verdicts: Sequence[Verdict]) -> list[Table | str]:
    """Return for each group the best configuration, those not worse, and the values that win."""
    shown: list[Table | str] = []
    for verdict in verdicts:
        where = ", ".join(f"{name} {value}" for name, value in verdict.group.items())
        value, low, high = (number(v) for v in verdict.value)
        metric = verdict.metric + "*" * verdict.unreliable
        shown.append(
            f"[bold]{escape(where) or 'all settings'}[/bold]: the best is {escape(verdict.best)},"
            f" {metric} {value} {escape(f'[{low}, {high}]')} on fresh seeds"
            f" ({number(verdict.selected_value)} on the seeds that selected it)."
            f" {len(verdict.not_worse)} of {verdict.configurations} configurations are not"
            f" significantly worse, {verdict.seeds} seeds."
        )
        if verdict.unreliable:
            shown.append(FEW)
        table = table_of("not worse", "fresh seeds", "minus best", "wins %")
        for row in verdict.not_worse.head(MOST_NOT_WORSE).to_dict("records"):
            table.add_row(
                escape(row["policy"]),
                number(row["value"]),
                number(row["difference"], 2),
                number(100 * row["wins"], 2),
            )
        if len(verdict.not_worse) > MOST_NOT_WORSE:
            more = len(verdict.not_worse) - MOST_NOT_WORSE
            table.add_row(f"... and {more} more (--json has all)")
        shown.append(table)
        for parameter, rows in verdict.wins.groupby("parameter", sort=False):
            won = ", ".join(
                f"{number_or_text(r['value'])} {100 * r['wins']:.0f} %"
                for r in rows.to_dict("records")
            )
            shown.append(f"{escape(str(parameter))} wins: {escape(won)}")
        shown.append("")
    return shown
