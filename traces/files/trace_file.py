"""Files of traces: Parquet, one row per request; `docs/reference/formats.md` describes them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lapsd.traces.errors import FormatError
from lapsd.traces.files.reading import json_value, parquet_table, path_of
from lapsd.traces.files.writing import BUNDLED, write_whole
from lapsd.traces.invariants import check_trace, checked_trace
from lapsd.traces.prefixes import Prefixes
from lapsd.traces.trace import COLUMNS, PREFIX_HASHES, Trace, prediction_column, prediction_name

SCHEMA_VERSION = 1
PREFIX_BLOCK = "prefix_block"  # of the metadata: tokens of each block that has a hash

TYPES = {
    "request_id": pa.string(),
    "dataset": pa.string(),
    "prompt_tokens": pa.int32(),
    "output_tokens": pa.int32(),
    "drafted": pa.list_(pa.int16()),
    "accepted": pa.list_(pa.int16()),
    "acceptable": pa.list_(pa.int16()),
    "accept_prob": pa.list_(pa.float32()),
    "draft_prob": pa.list_(pa.float32()),
    PREFIX_HASHES: pa.list_(pa.int64()),
}
BUNDLED_TRACES = ("reference", "reference-confidence", "azure-conversations")
"""Names of the bundled traces: tuple of str.

Examples
--------
>>> from lapsd.traces.files import BUNDLED_TRACES
>>> BUNDLED_TRACES
('reference', 'reference-confidence', 'azure-conversations')
"""


def load_trace(path: str | Path) -> Trace:
    """Return the validated trace in a file, or a bundled one by its name.

    The bundled traces are `reference` and `azure-conversations`.

    Parameters
    ----------
    path : str or Path
        A file, or the name of a bundled trace.

    Raises
    ------
    FormatError
        Naming the file and what is wrong with it.

    Examples
    --------
    >>> import lapsd
    >>> trace = lapsd.load_trace("reference")
    >>> len(trace.request_id)
    600
    """
    named = path_of(path, "trace")
    path = BUNDLED / f"{path}.parquet" if str(path) in BUNDLED_TRACES else named
    table, note = _read(path)
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise FormatError(f"trace {path}: no column {missing[0]!r}")
    columns = {}
    for wanted in filter(None, (_field(name, path) for name in table.column_names)):
        column = _cast(table.column(wanted.name), wanted, path)
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise FormatError(f"trace {path}, row {row}, field {wanted.name!r}: missing")
        columns[wanted.name] = column.to_pylist()
    if table.num_rows == 0:
        raise FormatError(f"trace {path}: holds no requests")
    return checked_trace(columns, note, f"trace {path}", note.pop(PREFIX_BLOCK, None))


def _field(name: str, path: Path) -> pa.Field | None:
    """Return the field of a column, or None for a column that is not part of a trace."""
    try:
        kind = pa.int32() if prediction_name(name) else TYPES.get(name)
    except ValueError as error:
        raise FormatError(f"trace {path}, field {name[:100]!r}: {error}") from error
    return None if kind is None else pa.field(name, kind, nullable=False)


def _read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    table = parquet_table(path, f"trace {path}")
    raw = (table.schema.metadata or {}).get(b"lapsd")
    if raw is None:
        raise FormatError(f"trace {path}: not a lapsd trace (its metadata has no key 'lapsd')")
    note = json_value(raw, f"trace {path}, metadata key 'lapsd'", finite=False)
    version = note.get("schema_version") if isinstance(note, dict) else None
    if version != SCHEMA_VERSION:
        raise FormatError(
            f"trace {path}: schema version {version!r}, this lapsd reads version {SCHEMA_VERSION}"
        )
    return table, {key: value for key, value in note.items() if key != "schema_version"}


def _cast(column: pa.ChunkedArray, wanted: pa.Field, path: Path) -> pa.ChunkedArray:
    """Return the column in the type of the format.

    Wider integers and large strings, as pandas writes them, are accepted too.
    """
    kinds = (
        pa.types.is_integer,
        _is_text,
        lambda t: _is_list(t) and pa.types.is_integer(t.value_type),
        lambda t: _is_list(t) and pa.types.is_floating(t.value_type),
    )
    if not any(same(column.type) and same(wanted.type) for same in kinds):
        raise FormatError(
            f"trace {path}, field {wanted.name!r}: type {column.type}, expected {wanted.type}"
        )
    try:
        return column.cast(wanted.type)
    except pa.ArrowException as error:
        raise FormatError(f"trace {path}, field {wanted.name!r}: {_first_line(error)}") from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def to_table(trace: Trace) -> pa.Table:
    """Return the trace as the Arrow table that a file holds."""
    offsets = {"drafted": trace.offsets, "accepted": trace.offsets}
    columns = {}
    for name, kind in TYPES.items():
        values = getattr(trace, name, None)
        if values is not None and _is_list(kind):
            starts = pa.array(offsets.get(name, trace.output_offsets), pa.int32())
            columns[name] = pa.ListArray.from_arrays(starts, pa.array(values, kind.value_type))
        elif values is not None:
            columns[name] = pa.array(values, kind)
    columns |= {
        prediction_column(name): pa.array(tokens, pa.int32())
        for name, tokens in trace.predictions.items()
    }
    note = {"schema_version": SCHEMA_VERSION, **trace.provenance.to_json()}
    if trace.prefixes is not None:
        columns[PREFIX_HASHES] = prefix_column(trace.prefixes)
        note[PREFIX_BLOCK] = trace.prefixes.block
    fields = [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
    return pa.Table.from_arrays(
        list(columns.values()), schema=pa.schema(fields, metadata={"lapsd": json.dumps(note)})
    )


def prefix_column(prefixes: Prefixes) -> pa.ListArray:
    """Return the hashes of prompts as a column of lists."""
    return pa.ListArray.from_arrays(pa.array(prefixes.offsets, pa.int32()), prefixes.hashes)


def save_trace(trace: Trace, path: str | Path) -> None:
    """Write the trace to a file, completely or not at all.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    path : str or Path
        The file.

    Raises
    ------
    FormatError
        If `load_trace` would refuse it.

    Examples
    --------
    >>> import lapsd
    >>> lapsd.save_trace(lapsd.load_trace("reference").only("code"), "code.parquet")
    >>> lapsd.load_trace("code.parquet").datasets
    ['code']
    """
    check_trace(trace, f"trace {path}")
    options = {"compression": "zstd", "write_page_checksum": True}
    write_whole(Path(path), lambda temporary: pq.write_table(to_table(trace), temporary, **options))
