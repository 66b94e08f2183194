"""The parts of a sweep: Parquet files of records, one for each done chunk, that verify themselves.

The metadata key `lapsd` of a part names the sweep and the chunk, and holds the SHA-256 of the whole
file, computed with zeros in the place of the digest. So a change of any byte is noticed, and so is
a part of another sweep, or of another chunk.
"""

import hashlib
import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lapsd.traces.files import write_whole
from lapsd.traces.files.reading import open_regular

KEY = b"lapsd"
ZEROS = "0" * 64
SEAL = re.compile(rb'"sha256": "([0-9a-f]{64})"')
NAMED = re.compile(rb'"sweep": "[0-9a-f]{64}"')
PATTERN = "part-*.parquet"


class DamagedPart(UserWarning):
    """Given when a resumed sweep runs a chunk again because its part is damaged or foreign."""


def part_of(folder: Path, chunk: int) -> Path:
    """Return the path of a chunk's part, by the index of the chunk in the sweep."""
    return folder / f"part-{chunk:06d}.parquet"


def write_part(folder: Path, sweep: str, chunk: int, records: pa.Table) -> None:
    """Write a chunk's records to the disk, completely or not at all.

    Parameters
    ----------
    sweep : the digest that identifies the sweep.

    Raises
    ------
    OSError
        Naming the file.
    """
    note = json.dumps({"sweep": sweep, "chunk": chunk, "sha256": ZEROS})
    buffer = io.BytesIO()
    pq.write_table(records.replace_schema_metadata({KEY: note}), buffer, write_page_checksum=True)
    content = buffer.getvalue()
    seal = hashlib.sha256(content).hexdigest().encode()
    start, end = _seal(content)
    content = content[:start] + seal + content[end:]
    write_whole(part_of(folder, chunk), lambda path: path.write_bytes(content))


def read_part(path: Path, sweep: str | None, runs: int | None = None) -> pa.Table:
    """Read the records of a part.

    Parameters
    ----------
    sweep : the digest that identifies the sweep; None: of an older version, without digests.
    runs : the number of records, where it is known.

    Raises
    ------
    ValueError
        Naming the part, if it is damaged, or belongs to another sweep or another chunk.
    """
    with open_regular(path) as file:
        content = file.read()
    try:
        if sweep is None and NAMED.search(content):
            raise ValueError("it names its sweep, and the description of the sweep has no digest")
        if sweep is not None:
            _check(content, sweep, path.name)
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ValueError(f"{path}: damaged or foreign ({error})") from error
    if runs is not None and table.num_rows != runs:
        raise ValueError(f"{path}: holds {table.num_rows} records, not {runs}")
    return table


def refuse_other_columns(path: Path, schema: pa.Schema, expected: pa.Schema) -> None:
    """Raise `ValueError`, naming the part, if it has not the expected columns: another version of
    lapsd wrote it.
    """
    if schema.equals(expected):
        return
    names = [*expected.names, *schema.names]
    for name in names:
        if name not in schema.names:
            raise ValueError(f"{path}: lacks the column {name!r} of the other parts")
        if name not in expected.names:
            raise ValueError(f"{path}: has a column {name!r}, unlike the other parts")
        if schema.names.count(name) == 1 and schema.field(name) != expected.field(name):
            kinds = f"{schema.field(name).type}, not {expected.field(name).type}"
            raise ValueError(f"{path}, column {name!r}: is of type {kinds}")
    raise ValueError(f"{path}: has its columns in another order than the other parts")


def _check(content: bytes, sweep: str, name: str) -> None:
    """Check the digest of a part, and that it belongs to this chunk of this sweep."""
    start, end = _seal(content)
    blank = content[:start] + ZEROS.encode() + content[end:]
    if hashlib.sha256(blank).hexdigest().encode() != content[start:end]:
        raise ValueError("its content does not match its digest")
    note = json.loads(pq.read_metadata(pa.BufferReader(content)).metadata[KEY])
    if note["sweep"] != sweep:
        raise ValueError("it belongs to another sweep")
    if part_of(Path(), note["chunk"]).name != name:
        raise ValueError(f"it belongs to chunk {note['chunk']}")


def _seal(content: bytes) -> tuple[int, int]:
    """Return where the digest of a part begins and ends. The metadata is at the end of the file."""
    places = [found.span(1) for found in SEAL.finditer(content)]
    if not places:
        raise ValueError("it has no digest")
    return places[-1]


def names_a_sweep(path: Path) -> bool:
    """Return whether a part names its sweep; parts of sweeps of older versions do not."""
    return path.is_file() and NAMED.search(path.read_bytes()) is not None


def parts_in(folder: Path) -> list[Path]:
    """Return the paths of all parts in a folder, in order."""
    return sorted(folder.glob(PATTERN))
