"""Tables for a terminal, one module per kind of content."""

from lapsd.cli.tables.comparison import comparison_table, notes, slowdown_table, versus_table
from lapsd.cli.tables.profile import profile_tables
from lapsd.cli.tables.speculation import speculation_table
from lapsd.cli.tables.sweep import best_tables, sweep_table
from lapsd.cli.tables.trace import trace_tables

__all__ = [
    "best_tables",
    "comparison_table",
    "notes",
    "profile_tables",
    "slowdown_table",
    "speculation_table",
    "sweep_table",
    "trace_tables",
    "versus_table",
]
