"""Parts of tables. Names come from users' files, so callers escape the text of cells."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table


def number_or_text(value: Any) -> str:
    """Return a parameter's value as text; a dash where a policy lacks the parameter."""
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


class WideTable(Table):
    """A table that is printed in several parts where it is wider than the console.

    Each part repeats the columns of words, whose cells are folded if they are too long.

    Attributes
    ----------
    words : number of columns of words, which come first.
    """

    words = 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, in parts where needed."""
        if self._fits(console, options):
            yield from super().__rich_console__(console, options)
            return
        rest = list(range(self.words, len(self.columns)))
        title = self.title
        while rest:
            count = 1
            while count < len(rest) and self._part(rest[: count + 1])._fits(console, options):
                count += 1
            part, rest = self._part(rest[:count]), rest[count:]
            part.title, title = title, None
            yield from Table.__rich_console__(part, console, options)
            if rest:
                yield ""

    def _fits(self, console: Console, options: ConsoleOptions) -> bool:
        width = Measurement.get(console, options.update(width=10**6), self).maximum
        return width <= options.max_width

    def _part(self, columns: list[int]) -> "WideTable":
        """Return the table of the columns of words and some others."""
        part = WideTable(box=None, pad_edge=False, header_style="bold", title_justify="left")
        part.rows = self.rows
        part.columns = [replace(self.columns[i]) for i in (*range(self.words), *columns)]
        for column in part.columns[: self.words]:
            column.no_wrap, column.overflow = False, "fold"
        return part


def table_of(*headings: str, left: int = 1) -> Table:
    """Return a table whose first `left` columns are words and the others numbers."""
    made = WideTable(box=None, pad_edge=False, header_style="bold")
    made.words = left
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="left" if i < left else "right", no_wrap=True)
    return made


def facts_table(facts: Mapping[str, str]) -> Table:
    """Return a table with one line per name and text."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts.items():
        table.add_row(escape(name.replace("_", " ")), escape(text))
    return table
