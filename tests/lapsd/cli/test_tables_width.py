"""Tables on narrow consoles: no cell is cut."""

from io import StringIO

import pytest
from rich.console import Console

from lapsd.cli.tables.cells import table_of
from lapsd.cli.tables.trace import trace_tables
from lapsd.traces import load_trace


def printed(table, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def table():
    made = table_of("policy", "mean s", "p99 s", "minus FCFS, s")
    made.add_row("laps-sd:K=4,delta=0.1", "0.182", "0.497", "-0.00217 [-0.1, 0.0957]")
    return made


def test_a_table_that_fits_is_printed_in_one_part():
    assert len(printed(table(), 80)) == 2


def test_a_table_that_is_too_wide_is_printed_in_parts_that_repeat_the_policy():
    first, row, empty, *last = printed(table(), 50)
    assert first.split() == ["policy", "mean", "s", "p99", "s"]
    assert row.startswith("laps-sd:K=4,delta=0.1")
    assert not empty
    assert last[1].endswith("-0.00217 [-0.1, 0.0957]")


@pytest.mark.parametrize("width", [30, 50, 80, 100, 150])
def test_no_cell_of_a_table_is_cut(width):
    for made in trace_tables(load_trace("reference")):
        assert "…" not in "".join(printed(made, width))
    assert "…" not in "".join(printed(table(), width))


def test_the_columns_of_words_are_repeated_together():
    made = table_of("K", "gamma", "mean s", "sd", left=2)
    made.add_row("4", "5", "1" * 20, "2" * 20)
    assert [line.split()[:2] for line in printed(made, 35) if line] == [
        ["K", "gamma"],
        ["4", "5"],
        ["K", "gamma"],
        ["4", "5"],
    ]
