"""Table of when speculation pays, by batch size."""

from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from lapsd.cli.tables.cells import table_of
from lapsd.sim.experiment.numbers import number
from lapsd.traces.provenance import DraftLengthRate, Speculation


def speculation_table(pays: pd.DataFrame, batches: Sequence[int]) -> Table:
    """Return the table of some batch sizes of a frame from `lapsd.traces.speculation_pays`."""
    return recorded_table(Speculation.of(pays[pays["batch"].isin(batches)]))


def recorded_table(speculation: Speculation) -> Table:
    """Return one row per batch size: plain decoding, the best draft length, and those that pay."""
    with_intervals = any(row.over_plain_low is not None for row in speculation.table)
    heading = ("batch", "plain\ntokens / s", "best n", "tokens / s", "over plain")
    table = table_of(
        *heading, *(["95 %"] if with_intervals else []), "faster n", "break-even A\nof best n"
    )
    for batch in speculation.batches:
        best, plain = speculation.best(batch), speculation.plain(batch)
        rows = [r for r in speculation.table if r.batch == batch]
        table.add_row(
            str(batch),
            number(plain and plain.tokens_per_s),
            str(best.draft_tokens),
            number(best.tokens_per_s),
            f"{best.over_plain:.2f}",
            *([_interval(best)] if with_intervals else []),
            _ranges([r.draft_tokens for r in rows if r.draft_tokens and r.over_plain > 1]),
            "-" if best.break_even is None else f"{best.break_even:.3f}",
        )
    return table


def _interval(row: DraftLengthRate) -> str:
    if row.over_plain_low is None or row.over_plain_high is None or not row.draft_tokens:
        return "-"
    return f"{row.over_plain_low:.2f}-{row.over_plain_high:.2f}"


def _ranges(values: Sequence[int]) -> str:
    """Return sorted integers in words, with runs of neighbours as ranges."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts = (str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
    return ", ".join(parts) or "none"
