"""Traces built from plain lists, and the invariants of their rows.

A trace is validated once, here; all other modules rely on it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.bounds import MOST_DRAFTED, MOST_TOKENS
from lapsd.traces.errors import FormatError
from lapsd.traces.prefixes import Prefixes
from lapsd.traces.provenance import Provenance
from lapsd.traces.trace import (
    COLUMNS,
    POSITION_COLUMNS,
    PREFIX_HASHES,
    Trace,
    prediction_column,
    prediction_name,
)

OPTIONAL_COLUMNS = (*POSITION_COLUMNS, PREFIX_HASHES)
RESERVED = ("none", "recorded", "auto")  # as names of data sets; "all" if there are others


def trace_from_rounds(
    rows: Sequence[Mapping[str, Any]],
    provenance: Provenance | Mapping[str, Any] | None = None,
    source: str = "trace",
    prefix_block: int | None = None,
) -> Trace:
    """Return a validated trace, built from one mapping per request.

    Parameters
    ----------
    rows : Sequence[Mapping[str, Any]]
        Mappings whose keys are the column names of a trace file; the trace has the optional columns
        of the first one.
    provenance : Provenance or Mapping[str, Any] or None, optional
        Where the trace comes from; a mapping is read like the metadata of a file.
    source : str, default 'trace'
        Name of the file, for messages.
    prefix_block : int or None, optional
        Tokens of each block that `prefix_hashes` names; None: the rows have no hashes.

    Raises
    ------
    FormatError
        Naming `source`, row and field, if a row breaks an invariant.

    Examples
    --------
    >>> from lapsd.traces import trace_from_rounds
    >>> row = {
    ...     "request_id": "a",
    ...     "dataset": "all",
    ...     "prompt_tokens": 10,
    ...     "output_tokens": 5,
    ...     "drafted": [4, 4],
    ...     "accepted": [2, 1],
    ... }
    >>> trace_from_rounds([row]).acceptance
    array([0.375])
    """
    if not rows:
        raise FormatError(f"{source}: holds no requests")
    names = [
        *COLUMNS,
        *(name for name in rows[0] if name in OPTIONAL_COLUMNS or prediction_name(name)),
    ]
    for number, row in enumerate(rows):
        for name in sorted({*row}.symmetric_difference(names)):
            if name in row and name in OPTIONAL_COLUMNS:
                continue  # which the first row lacks, and so the trace
            why = "unknown" if name in row else "missing"
            raise FormatError(f"{source}, row {number}, field {name!r}: {why}")
    columns = {name: [row[name] for row in rows] for name in names}
    return checked_trace(columns, provenance or {}, source, prefix_block)


def _provenance(known: Provenance | Mapping[str, Any], source: str) -> Provenance:
    try:
        return known if isinstance(known, Provenance) else Provenance.from_json(known, "lapsd")
    except FormatError as error:
        raise FormatError(f"{source}, {error}") from error


def checked_trace(
    columns: Mapping[str, list[Any]],
    provenance: Provenance | Mapping[str, Any],
    source: str,
    prefix_block: object = None,
) -> Trace:
    """Return a validated trace, built from columns of plain lists.

    Parameters
    ----------
    prefix_block : tokens of each block that `prefix_hashes` names; None without this column.

    Raises
    ------
    FormatError
        Naming `source`, row and field, if a row breaks an invariant.
    """
    lengths = np.array([len(r) for r in columns["drafted"]], dtype=np.int64)
    _refuse(source, lengths < 1, "drafted", "a request must have at least one round", lengths)
    other = np.array([len(r) for r in columns["accepted"]], dtype=np.int64)
    _refuse(source, other != lengths, "accepted", "must have as many rounds as 'drafted'", other)
    flat = {name: _flat(columns[name], name, source, np.int64) for name in ("drafted", "accepted")}
    kinds = {"acceptable": np.int64, "accept_prob": np.float32, "draft_prob": np.float32}
    for name, kind in kinds.items():
        if name in columns:
            lists = np.array([len(r) for r in columns[name]], dtype=np.int64)
            needed = "must have one value per output token"
            _refuse(source, lists != np.array(columns["output_tokens"]), name, needed, lists)
            flat[name] = _flat(columns[name], name, source, kind)
    trace = Trace(
        request_id=columns["request_id"],
        dataset=columns["dataset"],
        prompt_tokens=_whole(columns["prompt_tokens"], "prompt_tokens", source),
        output_tokens=_whole(columns["output_tokens"], "output_tokens", source),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        predictions={
            prediction: _whole(values, column, source)
            for column, values in columns.items()
            if (prediction := prediction_name(column)) is not None
        },
        provenance=_provenance(provenance, source),
        prefixes=prefixes_of(columns.get(PREFIX_HASHES), prefix_block, source),
        **flat,
    )
    check_trace(trace, source)
    return trace


def prefixes_of(lists: list[list[int]] | None, block: object, source: str) -> Prefixes | None:
    """Return the prefixes in a column of lists; None if there is neither a column nor a block.

    Raises
    ------
    FormatError
        Naming `source`, if one of the two is missing, or a value is not a whole number.
    """
    if lists is None and block is None:
        return None
    if lists is None or block is None:
        raise FormatError(
            f"{source}: the column {PREFIX_HASHES!r} and the tokens of its blocks, 'prefix_block',"
            " must be given together"
        )
    if not isinstance(block, int) or isinstance(block, bool):
        raise FormatError(f"{source}, prefix_block {str(block)[:40]!r}: must be a whole number")
    _flat(lists, PREFIX_HASHES, source, np.int64)
    return Prefixes.of(lists, block)


def _flat(lists: list[list[Any]], name: str, source: str, kind: type) -> NDArray[Any]:
    values = [v for row in lists for v in row]
    if None in values:
        row = next(i for i, entries in enumerate(lists) if None in entries)
        raise FormatError(f"{source}, row {row}, field {name!r}: a value is missing")
    if kind is np.int64:
        return _whole(values, name, source, lists)
    return np.array(values, dtype=kind)


def _whole(
    values: list[Any], name: str, source: str, rows: Sequence[Any] | None = None
) -> NDArray[np.int64]:
    """Return whole numbers as an array; refuse other values, and numbers beyond 64 bits.

    Parameters
    ----------
    rows : the numbers of each row, or the number of each row; by default `values`.
    """
    others = [kind for kind in set(map(type, values)) if not _is_whole(kind)]
    if others:
        at, value = next((i, v) for i, v in enumerate(values) if type(v) in others)
        row = at if rows is None else _row_of(at, rows)
        raise FormatError(f"{source}, row {row}, field {name!r}: {value!r}: must be a whole number")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        for row, entry in enumerate(rows or values):
            for value in entry if isinstance(entry, list) else [entry]:
                if abs(value) >= 2**63:
                    why = f"field {name!r}: {str(value)[:40]}: must be below 2**63"
                    raise FormatError(f"{source}, row {row}, {why}") from error
        raise


def _is_whole(kind: type) -> bool:
    return issubclass(kind, int | np.integer) and kind is not bool


def _row_of(at: int, lists: Sequence[Any]) -> int:
    """Return the row of the value at a place in all lists together."""
    ends = np.cumsum([len(entries) for entries in lists])
    return int(np.searchsorted(ends, at, side="right"))


def check_lengths(
    source: str, prompt_tokens: NDArray[np.int64], output_tokens: NDArray[np.int64]
) -> None:
    """Check the lengths of requests.

    Raises
    ------
    FormatError
        Naming `source`, row and field, if a length is out of bounds.
    """
    for name, tokens, least in (
        ("prompt_tokens", prompt_tokens, 0),
        ("output_tokens", output_tokens, 1),
    ):
        _refuse(source, tokens < least, name, f"below {least}", tokens)
        _refuse(source, tokens > MOST_TOKENS, name, f"must be at most {MOST_TOKENS}", tokens)


def check_trace(trace: Trace, source: str) -> None:
    """Check what a trace file must hold.

    Raises
    ------
    FormatError
        Naming `source`, row and field, if a row breaks an invariant.
    """
    _check_datasets(trace, source)
    owner = np.repeat(np.arange(len(trace)), trace.rounds)
    for bad, name, why in (
        (trace.accepted < 0, "accepted", "below 0"),
        (
            trace.accepted > trace.drafted,
            "accepted",
            "more tokens accepted than drafted in a round",
        ),
        (trace.drafted > MOST_DRAFTED, "drafted", f"must be at most {MOST_DRAFTED}"),
    ):
        _refuse(source, np.bincount(owner[bad], minlength=len(trace)) > 0, name, why)
    check_lengths(source, trace.prompt_tokens, trace.output_tokens)
    surplus = trace.per_request(trace.accepted) + trace.rounds - trace.output_tokens
    last = trace.accepted[trace.offsets[1:] - 1]
    bad = ~((surplus == 0) | ((surplus == 1) & (last > 0)))
    rule = (
        "the sum of accepted + 1 over rounds must equal output_tokens, or exceed it by 1 if the"
        " last token was an accepted draft token"
    )
    _refuse(source, bad, "output_tokens", rule, trace.output_tokens)
    for name, tokens in trace.predictions.items():
        _refuse(source, tokens < 1, prediction_column(name), "below 1", tokens)
        above = f"must be at most {MOST_TOKENS}"
        _refuse(source, tokens > MOST_TOKENS, prediction_column(name), above, tokens)
    if trace.prefixes is not None:
        trace.prefixes.check(trace.prompt_tokens, source)
    if trace.acceptable is None and trace.accept_prob is None:
        return
    position_owner = np.repeat(np.arange(len(trace)), trace.output_tokens)
    if trace.acceptable is not None:
        left = np.repeat(trace.output_offsets[1:], trace.output_tokens) - np.arange(
            len(position_owner)
        )
        wrong = (trace.acceptable < 0) | (trace.acceptable > left)
        bad = np.bincount(position_owner[wrong], minlength=len(trace)) > 0
        _refuse(
            source,
            bad,
            "acceptable",
            "must lie between 0 and the number of remaining output tokens",
        )
    for name in ("accept_prob", "draft_prob"):
        probability = getattr(trace, name)
        if probability is not None:
            wrong = ~((probability >= 0) & (probability <= 1))
            bad = np.bincount(position_owner[wrong], minlength=len(trace)) > 0
            _refuse(source, bad, name, "must lie between 0 and 1")


def _check_datasets(trace: Trace, source: str) -> None:
    """Refuse names of data sets that options of a command line take for all data sets."""
    reserved = RESERVED if len(trace.datasets) == 1 else (*RESERVED, "all")
    for row, name in enumerate(trace.dataset):
        if not name or name in reserved:
            why = "stands for all data sets in options; choose another name" if name else "is empty"
            raise FormatError(f"{source}, row {row}, field 'dataset': {name!r} {why}")


def _refuse(
    source: str,
    bad: NDArray[np.bool_],
    name: str,
    why: str,
    values: NDArray[np.int64] | None = None,
) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        value = "" if values is None else f"{values[row]}: "
        raise FormatError(f"{source}, row {row}, field {name!r}: {value}{why}")
