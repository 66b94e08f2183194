"""What tables are made of. Names come from users' files, so whoever fills a cell escapes them."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table


def number_or_text(value: Any) -> str:
    """A parameter's value; a dash where a policy lacks the parameter."""
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def table_of(*headings: str, left: int = 1) -> Table:
    """A table whose first columns are words, and the rest numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="left" if i < left else "right", no_wrap=True)
    return made


def facts_table(facts: Mapping[str, str]) -> Table:
    """Names and texts, a line each."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts.items():
        table.add_row(escape(name.replace("_", " ")), escape(text))
    return table
