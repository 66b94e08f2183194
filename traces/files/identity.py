"""Digests of input files, and differences between the descriptions of two results.

A result that can be resumed keeps a description of everything that it depends on: settings by name,
and the SHA-256 of each input. It is resumed only under an equal description.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lapsd.traces.files.profile_file import BUNDLED_PROFILES
from lapsd.traces.files.trace_file import BUNDLED_TRACES
from lapsd.traces.files.writing import BUNDLED

LONGEST = 100  # characters of a value in a message


def trace_sha256(name: str | Path) -> str:
    """Return the SHA-256 of the file of a trace, given as `load_trace` takes it.

    Parameters
    ----------
    name : str or Path
        A file, or the name of a bundled trace.

    Examples
    --------
    >>> from lapsd.traces.files import trace_sha256
    >>> len(trace_sha256("reference"))
    64
    """
    return file_sha256(BUNDLED / f"{name}.parquet" if str(name) in BUNDLED_TRACES else name)


def profile_sha256(name: str | Path) -> str:
    """Return the SHA-256 of the file of a profile, given as `load_profile` takes it.

    Parameters
    ----------
    name : str or Path
        A file, or the name of a bundled profile.

    Examples
    --------
    >>> from lapsd.traces.files import profile_sha256
    >>> len(profile_sha256("llama-7b-h200"))
    64
    """
    return file_sha256(BUNDLED / f"{name}.json" if str(name) in BUNDLED_PROFILES else name)


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : str or Path
        The file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.files import file_sha256
    >>> done = Path("empty.txt").write_text("")
    >>> file_sha256("empty.txt")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return the first entry that differs between two descriptions, as `NAME was X, and is Y`.

    None if they are equal. Of an entry that is itself a mapping, only the differing part is shown.

    Parameters
    ----------
    before : Mapping[str, Any]
        The earlier description.
    now : Mapping[str, Any]
        The present description.

    Examples
    --------
    >>> from lapsd.traces.files import first_difference
    >>> first_difference({"seeds": 5, "load": 0.8}, {"seeds": 5, "load": 0.9})
    'load was 0.8, and is 0.9'
    >>> first_difference({"seeds": 5}, {"seeds": 5}) is None
    True
    """
    for name in [*now, *(name for name in before if name not in now)]:
        was, is_ = before.get(name), now.get(name)
        if was != is_:
            shown = (_shorten(_part(one, other)) for one, other in ((was, is_), (is_, was)))
            return "{} was {}, and is {}".format(name, *shown)
    return None


def _part(value: Any, other: Any) -> Any:
    """Return the entries of `value` that are different or absent in `other`."""
    if not (isinstance(value, dict) and isinstance(other, dict)):
        return value
    return {k: _part(v, other.get(k)) for k, v in value.items() if other.get(k) != v}


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
