"""Tables of `lapsd validate`."""

from rich.markup import escape
from rich.table import Table

from lapsd.cli.tables.cells import table_of
from lapsd.serve.validation.tables import Text


def text_table(text: Text) -> Table:
    """Return a table for the terminal."""
    table = table_of(*text.headings, left=text.words)
    for row in text.rows:
        table.add_row(*map(escape, row))
    return table
