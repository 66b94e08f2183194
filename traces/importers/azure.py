"""Arrivals in Azure/AzurePublicDataset: CSV with TIMESTAMP, ContextTokens and GeneratedTokens."""

import csv
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from lapsd.traces.arrival_trace import arrivals_of
from lapsd.traces.errors import FormatError
from lapsd.traces.files.json_lines import count
from lapsd.traces.files.reading import text_lines
from lapsd.traces.importers.importer import Imported, Importer

TOKENS = ("ContextTokens", "GeneratedTokens")


@dataclass(frozen=True)
class Azure(Importer):
    r"""Import the arrivals of an Azure LLM inference trace.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.importers import Azure
    >>> lines = [
    ...     "TIMESTAMP,ContextTokens,GeneratedTokens",
    ...     "2023-11-16 18:15:46.0,374,44",
    ...     "2023-11-16 18:15:50.0,396,109",
    ... ]
    >>> text = "\n".join(lines)
    >>> done = Path("azure.csv").write_text(text)
    >>> imported = Azure().read("azure.csv")
    >>> imported.trace.output_tokens
    array([ 44, 109])
    """

    name: ClassVar[str] = "azure"
    file: ClassVar[str] = "A CSV with TIMESTAMP, ContextTokens, GeneratedTokens (.gz allowed)."

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`."""
        path, rows = Path(path), []
        try:
            reader = csv.DictReader(text_lines(path))
            names = reader.fieldnames or []
            for name in names:
                if names.count(name) > 1:
                    raise FormatError(f"{path}, line 1: column {name!r} occurs twice")
            for record in reader:
                line = f"{path}, line {reader.line_num}"
                if None in record:  # a field without a name
                    raise FormatError(f"{line}: has more than {len(names)} fields")
                rows.append(_row(record, line))
        except csv.Error as error:
            raise FormatError(f"{path}: {error}") from error
        return Imported(arrivals_of(rows, f"Azure trace {path.name}"))


def _row(record: dict[str, str], source: str) -> tuple[int, int, int]:
    """Return the arrival in ns, and the tokens of prompt and output."""
    try:
        at_ns = _instant_ns(record["TIMESTAMP"])
        prompt, output = (_whole(record[name]) for name in TOKENS)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        wanted = f"needs TIMESTAMP, {', '.join(TOKENS)}"
        raise FormatError(f"{source}: {wanted} ({error})") from error
    return at_ns, count(prompt, TOKENS[0], source), count(output, TOKENS[1], source)


def _whole(text: str) -> int:
    """Return the number of a text of digits; `int` reads `1_0` as well."""
    if not re.fullmatch(r"-?[0-9]{1,30}", text):
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def _instant_ns(text: str) -> int:
    """Return the time in ns of a text such as `2023-11-16 18:15:46.6805900`.

    The times of Python have microseconds only.
    """
    whole, _, fraction = text.partition(".")
    seconds = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return int(seconds) * 10**9 + int(f"{fraction:0<9}"[:9])
