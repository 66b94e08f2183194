"""Record in a profile of whether speculation is faster than plain decoding on a machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pandas as pd

from lapsd.traces.provenance.record import Record

RENAMED = {"foretold_tokens_per_s": "predicted_tokens_per_s"}  # keys of older profiles


@dataclass(frozen=True, kw_only=True)
class DraftLengthRate(Record):
    """Throughput at one draft length and one batch size: see `lapsd.traces.speculation_pays`.

    Examples
    --------
    >>> from lapsd.traces.provenance import DraftLengthRate
    >>> DraftLengthRate(
    ...     batch=1, draft_tokens=4, tokens_per_s=90.0, over_plain=1.5
    ... ).over_plain
    1.5
    """

    batch: int
    draft_tokens: int
    tokens_per_s: float
    over_plain: float
    low: float | None = None
    high: float | None = None
    over_plain_low: float | None = None
    over_plain_high: float | None = None
    break_even: float | None = None


@dataclass(frozen=True, kw_only=True)
class SpeculationCheck(Record):
    """Measured and predicted throughput of the best draft length, run on a few requests.

    Examples
    --------
    >>> import lapsd
    >>> lapsd.load_profile("reference").speculation.check.requests > 0
    True
    """

    draft_tokens: int
    requests: int
    measured_tokens_per_s: float
    predicted_tokens_per_s: float

    @classmethod
    def from_json(cls, document: Any, name: str) -> Self:
        """See `Record.from_json`; keys of older files, in `RENAMED`, are read too."""
        if isinstance(document, Mapping):
            document = {RENAMED.get(key, key): value for key, value in document.items()}
        return super().from_json(document, name)


@dataclass(frozen=True, kw_only=True)
class Speculation(Record):
    """Throughput by batch size and draft length.

    Attributes
    ----------
    table : tuple of DraftLengthRate
        One entry per batch size and draft length.
    best_draft_tokens : mapping of batch size to draft length
        Draft length with the largest throughput; 0 if plain decoding is fastest.
    check : SpeculationCheck or None

    Examples
    --------
    >>> import lapsd
    >>> speculation = lapsd.load_profile("reference").speculation
    >>> (
    ...     1 in speculation.batches,
    ...     speculation.best(1).draft_tokens == speculation.best_draft_tokens[1],
    ... )
    (True, True)
    """

    table: tuple[DraftLengthRate, ...] = ()
    best_draft_tokens: Mapping[int, int] = field(default_factory=dict)
    check: SpeculationCheck | None = None

    @classmethod
    def of(cls, pays: pd.DataFrame) -> Self:
        """Return the record of a frame from `lapsd.traces.speculation_pays`."""
        rows = pays.round(6).astype(object).where(pays.notna(), None).to_dict("records")
        table = tuple(DraftLengthRate.from_json(row, "speculation.table") for row in rows)
        return cls(
            table=table,
            best_draft_tokens={b: _best(table, b).draft_tokens for b in _batches(table)},
        )

    @property
    def batches(self) -> list[int]:
        """Batch sizes, in the order of the table."""
        return _batches(self.table)

    def best(self, batch: int) -> DraftLengthRate:
        """Return the entry with the largest throughput at a batch size of the table."""
        return _best(self.table, batch)

    def plain(self, batch: int) -> DraftLengthRate | None:
        """Return the entry of plain decoding at a batch size, or None if the table lacks it."""
        return next((r for r in self.table if r.batch == batch and r.draft_tokens == 0), None)


def _batches(table: Iterable[DraftLengthRate]) -> list[int]:
    return list(dict.fromkeys(row.batch for row in table))


def _best(table: Iterable[DraftLengthRate], batch: int) -> DraftLengthRate:
    return max((row for row in table if row.batch == batch), key=lambda row: row.tokens_per_s)
