"""Parts of tables. Names come from users' files, so callers escape the text of cells."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table


def number_or_text(value: Any) -> str:
    """Return a parameter's value as text; a dash where a policy lacks the parameter."""
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def table_of(*headings: str, left: int = 1) -> Table:
    """Return a table whose first `left` columns are words and the others numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
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
