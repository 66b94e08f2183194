"""Whether speculation pays on a machine, as it stands in a profile: a row a batch size and draft
length.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import pandas as pd

from lapsd.traces.provenance.record import Record


@dataclass(frozen=True, kw_only=True)
class DraftLengthRate(Record):
    """What one draft length gives at one batch size: see `lapsd.traces.speculation_pays`."""

    batch: int
    draft_tokens: int
    tokens_per_s: float
    over_plain: float
    low: float | None = None
    high: float | None = None
    break_even: float | None = None


@dataclass(frozen=True, kw_only=True)
class SpeculationCheck(Record):
    """The best draft length, run for real on a few requests."""

    draft_tokens: int
    requests: int
    measured_tokens_per_s: float
    predicted_tokens_per_s: float


@dataclass(frozen=True, kw_only=True)
class Speculation(Record):
    """Tokens a second by batch size and draft length; the best draft length of each batch size, 0
    where none pays.
    """

    table: tuple[DraftLengthRate, ...] = ()
    best_draft_tokens: Mapping[int, int] = field(default_factory=dict)
    check: SpeculationCheck | None = None

    @classmethod
    def of(cls, pays: pd.DataFrame) -> Self:
        """From the frame of `lapsd.traces.speculation_pays`."""
        rows = pays.round(6).astype(object).where(pays.notna(), None).to_dict("records")
        table = tuple(DraftLengthRate.from_json(row, "speculation.table") for row in rows)
        return cls(
            table=table,
            best_draft_tokens={b: _best(table, b).draft_tokens for b in _batches(table)},
        )

    @property
    def batches(self) -> list[int]:
        """Batch sizes, in order."""
        return _batches(self.table)

    def best(self, batch: int) -> DraftLengthRate:
        """The draft length of most tokens a second at a batch size of the table."""
        return _best(self.table, batch)

    def plain(self, batch: int) -> DraftLengthRate | None:
        """Decoding without drafts at a batch size, if it is in the table."""
        return next((r for r in self.table if r.batch == batch and r.draft_tokens == 0), None)


def _batches(table: Iterable[DraftLengthRate]) -> list[int]:
    return list(dict.fromkeys(row.batch for row in table))


def _best(table: Iterable[DraftLengthRate], batch: int) -> DraftLengthRate:
    return max((row for row in table if row.batch == batch), key=lambda row: row.tokens_per_s)
