"""Tables of policies, draft policies and routers."""

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from lapsd.policies.descriptions import Description


def name_of(one: Description) -> str:
    """Return the name, with its mark."""
    return f"{one.name} †" if one.clairvoyant else one.name


def policies_table(title: str, descriptions: Iterable[Description]) -> Table:
    """Return a table with one row per class: its name, what it does, and when to use it."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(title, no_wrap=True)
    table.add_column("what it does", overflow="fold", ratio=1)
    table.add_column("when to use it", overflow="fold", ratio=1)
    for one in descriptions:
        table.add_row(*map(escape, (name_of(one), one.summary, one.use)))
    return table


def details_table(one: Description) -> Table:
    """Return everything that is known of a class, with one line per parameter."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    parameters = [(f"{p.name} = {p.default}", p.meaning) for p in one.parameters]
    for name, text in (
        ("name", name_of(one)),
        ("what it does", f"{one.summary} {one.details}".strip()),
        ("when to use it", one.use),
        *parameters,
        ("source", one.source),
    ):
        table.add_row(escape(name), escape(text))
    return table
