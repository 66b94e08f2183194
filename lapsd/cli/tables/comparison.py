"""Tables of a comparison."""

from rich.markup import escape
from rich.table import Table

from lapsd.cli.tables.cells import table_of
from lapsd.sim.experiment.comparison import Comparison
from lapsd.sim.experiment.metrics import RELIABLE, Metric, Ratio, comparison_metrics
from lapsd.sim.experiment.numbers import number


def comparison_table(comparison: Comparison) -> Table:
    """Return the comparison as a table; the JSON output has all columns."""
    shown = comparison_metrics(comparison.scenario)
    headings = [
        metric.heading + "*" * metric.is_unreliable(comparison.observations) for metric in shown
    ]
    table = table_of("policy", headings[0], "± 95 %", *headings[1:], "minus FCFS, s\n[95 %]")
    for row in comparison.records:
        interval = comparison.latency(row["policy"])
        spread = number((interval.high - interval.low) / 2, 2)
        difference = number(row["diff_to_fcfs_s"])
        if row["diff_low_s"] is not None and row["policy"] != "fcfs":
            difference += f" [{number(row['diff_low_s'])}, {number(row['diff_high_s'])}]"
        values = [measure(metric, row[metric.name]) for metric in shown]
        table.add_row(
            _marked(comparison, row["policy"]), values[0], spread, *values[1:], escape(difference)
        )
    return table


def _marked(comparison: Comparison, policy: str) -> str:
    """Return a policy's spec, with a mark if it knows the true sizes."""
    return escape(policy) + (" †" if policy in comparison.clairvoyant else "")


def measure(metric: Metric, value: float | None) -> str:
    """Return a metric's value as text: shares in percent, ratios with three decimals."""
    if value is None:
        return "-"
    if metric.unit == "share":
        return number(100 * value, 2)
    if metric.whole:
        return str(value)
    return f"{value:.3f}" if isinstance(metric.over_seeds, Ratio) else number(value)


def slowdown_table(comparison: Comparison) -> Table:
    """Return the mean slowdown by quarter of output length."""
    table = table_of(
        "mean slowdown of the", "shortest quarter", "second", "third", "longest quarter"
    )
    for policy, row in comparison.slowdown_by_length.iterrows():
        table.add_row(_marked(comparison, str(policy)), *(number(value) for value in row))
    return table


def versus_table(comparison: Comparison, policy: str) -> Table:
    """Return one policy's mean latency relative to that of every other."""
    table = table_of(escape(f"mean latency of {policy} against"), "difference", "95 % interval")
    for row in comparison.versus(policy).to_dict("records"):
        interval = f"{row['low']:+.1f} to {row['high']:+.1f} %" if comparison.seeds > 1 else "-"
        table.add_row(_marked(comparison, row["policy"]), f"{row['percent']:+.1f} %", interval)
    return table


def notes(comparison: Comparison) -> list[str]:
    """Return the notes below the table: what was run, and what its marks mean."""
    lines, shown = [comparison.caption], comparison_metrics(comparison.scenario)
    if any(metric.is_unreliable(comparison.observations) for metric in shown):
        lines.append(
            f"* unreliable: fewer than {RELIABLE} latencies are expected above this percentile; add"
            " seeds."
        )
    if comparison.seeds == 1:
        lines.append("One seed gives no interval: use --seeds 2 or more.")
    if comparison.clairvoyant:
        lines.append("† knows the true sizes, which no real server does: for comparison only.")
    return lines
