"""Tables of `lapsd validate`."""

from rich.markup import escape
from rich.table import Table

from lapsd.cli.tables.cells import table_of
from lapsd.serve.validation.tables import Text


def text_table(text: Text) -> Table:
    """For a terminal."""
    made = table_of(*text.headings, left=text.words)
    for row in text.rows:
        made.add_row(*map(escape, row))
    return made
