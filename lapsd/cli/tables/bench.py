"""The table of `lapsd bench`."""

from collections.abc import Mapping

from rich.table import Table

from lapsd.sim.bench import FIGURES
from lapsd.sim.experiment.numbers import number


def bench_table(figures: Mapping[str, float]) -> Table:
    """Return a table with one row per figure: value, bound and meaning."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", no_wrap=True)
    table.add_column("here", justify="right", no_wrap=True)
    table.add_column("should be", justify="right", no_wrap=True)
    table.add_column("")
    for figure in FIGURES:
        value = figures[figure.key]
        held = value <= figure.bound if figure.at_most else value >= figure.bound
        wanted = f"{'at most' if figure.at_most else 'at least'} {figure.bound:g}"
        table.add_row(
            figure.key,
            number(value),
            wanted,
            figure.meaning + ("" if held else "  [bold]MISSED[/bold]"),
        )
    return table
