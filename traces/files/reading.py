"""Read files of users: text, JSON, TOML and Parquet.

Every reader of a file opens it here, so that a pipe, a device or a folder is refused and not waited
for, and every error is one line that names the file. JSON and TOML may hold what other programs and
formats can hold too: finite numbers, 64-bit integers, distinct keys, whole characters.
"""

import errno
import gzip
import io
import json
import math
import os
import re
import stat
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lapsd.traces.errors import FormatError

DEEPEST = 100  # levels of lists and objects
LONGEST_LINE = 2**28  # characters
LARGEST_TEXT = 2**32  # characters, after decompression
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def path_of(given: Any, what: str) -> Path:
    """Return the path of a file that a caller names.

    Raises
    ------
    FormatError
        If it is neither a text nor a path.
    """
    if not isinstance(given, str | os.PathLike):
        raise FormatError(f"{what}: needs a name or a path, not a {type(given).__name__}")
    return Path(given)


def open_regular(path: str | Path, source: str = "") -> IO[bytes]:
    """Open a regular file for reading.

    Parameters
    ----------
    source : name of the file in messages; its path by default.

    Raises
    ------
    FormatError
        If there is no such file, it cannot be opened, or it is not a regular file.
    """
    source = source or str(path)
    try:
        descriptor = os.open(path, FLAGS)  # does not wait for the writer of a pipe
    except (OSError, ValueError) as error:
        raise FormatError(f"{source}: {_reason(error)}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        folder = "is a folder, " if stat.S_ISDIR(mode) else ""
        raise FormatError(f"{source}: {folder}not a regular file")
    return open(descriptor, "rb")


@contextmanager
def _opened_text(path: Path, source: str) -> Iterator[IO[str]]:
    """Open a text in UTF-8, with or without a byte order mark; `.gz` is decompressed."""
    with open_regular(path, source) as file:
        data: Any = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        try:
            yield io.TextIOWrapper(data, encoding="utf-8-sig", newline="")
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise FormatError(f"{source}: {_reason(error)}") from error


def read_text(path: Path, source: str = "") -> str:
    """Return the text in a file (`.gz` allowed).

    Raises
    ------
    FormatError
        If the file cannot be read, is not UTF-8, or is longer than `LARGEST_TEXT`.
    """
    source = source or str(path)
    with _opened_text(path, source) as file:
        text = file.read(LARGEST_TEXT + 1)
    if len(text) > LARGEST_TEXT:
        raise FormatError(f"{source}: longer than {LARGEST_TEXT} characters")
    return text


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file (`.gz` allowed), with their ends.

    Raises
    ------
    FormatError
        If the file cannot be read, is not UTF-8, or has a line longer than `LONGEST_LINE`.
    """
    with _opened_text(path, str(path)) as file:
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise FormatError(f"{path}: a line is longer than {LONGEST_LINE} characters")
            yield line


def json_value(text: str | bytes, source: str, *, finite: bool = True) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    source : name of the file, for messages.
    finite : whether to refuse NaN and infinities.

    Raises
    ------
    FormatError
        If the text is not JSON, or holds a number beyond 64 bits, a key twice, half a character, or
        more than `DEEPEST` levels.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_object)
        _check(value, finite)
        if re.search(r"\\u[dD]", text):  # half a character, if the other half is missing
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: not JSON ({_reason(error)})") from error
    return value


def json_file(path: Path, source: str = "") -> Any:
    """Return the value in a JSON file (`.gz` allowed); see `json_value`."""
    return json_value(read_text(path, source), source or str(path))


def json_object(path: Path, source: str = "") -> dict[str, Any]:
    """Return the object in a JSON file (`.gz` allowed); see `json_value`.

    Raises
    ------
    FormatError
        If the file holds something else.
    """
    value = json_file(path, source)
    if not isinstance(value, dict):
        raise FormatError(f"{source or path}: not a JSON object")
    return value


def toml_file(path: Path) -> dict[str, Any]:
    """Return the table in a TOML file.

    Raises
    ------
    FormatError
        If the file is not TOML, or holds what `json_value` refuses.
    """
    text = read_text(path)
    try:
        document = tomllib.loads(text)
        _check(document, finite=True)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not TOML: {_reason(error)}") from error
    return document


def parquet_table(path: Path, source: str) -> pa.Table:
    """Return the validated table in a Parquet file.

    Raises
    ------
    FormatError
        If the file is not a readable Parquet file.
    """
    with open_regular(path, source) as file:
        try:
            table = pq.read_table(file, page_checksum_verification=True, partitioning=None)
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise FormatError(
                f"{source}: not a readable Parquet file ({_reason(error)})"
            ) from error
    return table


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)[:40]!r} occurs twice")
    return made


def _check(value: Any, finite: bool) -> None:
    """Raise a ValueError for a number out of range, or for more than `DEEPEST` levels."""
    level: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        wholes = (whole.values() if isinstance(whole, Mapping) else whole for whole in level)
        parts = [part for whole in wholes for part in whole]
        for part in parts:
            if isinstance(part, int) and not -(2**63) <= part < 2**63:
                raise ValueError(f"{hex(part)[:20]}...: beyond 64 bits")
            if finite and isinstance(part, float) and not math.isfinite(part):
                raise ValueError(f"{part}: not a finite number")
        level = [part for part in parts if isinstance(part, Mapping | list)]
        if not level:
            return
    raise ValueError(f"more than {DEEPEST} levels of lists and objects")


def _reason(error: BaseException) -> str:
    """Return the first line of an error's text."""
    if isinstance(error, RecursionError):
        return f"more than {DEEPEST} levels of lists and objects"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnicodeDecodeError):
        return f"not text in UTF-8, as the byte {error.object[error.start]:#04x} in it shows"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:  # a socket
        return "not a regular file"
    text = getattr(error, "strerror", None) or str(error)
    return (str(text).splitlines() or [type(error).__name__])[0][:200]
