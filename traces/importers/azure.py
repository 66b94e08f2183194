"""Arrivals in Azure/AzurePublicDataset: CSV with TIMESTAMP, ContextTokens and GeneratedTokens."""

import csv
import gzip
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from lapsd.traces.arrival_trace import arrivals_of
from lapsd.traces.errors import FormatError
from lapsd.traces.importers.importer import Imported, Importer


@dataclass(frozen=True)
class Azure(Importer):
    """Import the arrivals of an Azure LLM inference trace."""

    name: ClassVar[str] = "azure"
    file: ClassVar[str] = "A CSV with TIMESTAMP, ContextTokens, GeneratedTokens (.gz allowed)."

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`."""
        path, rows = Path(path), []
        try:
            with (gzip.open if path.suffix == ".gz" else open)(
                path, "rt", encoding="utf-8", newline=""
            ) as file:
                for number, record in enumerate(csv.DictReader(file), 2):
                    try:
                        at = _instant_ns(record["TIMESTAMP"])
                        rows.append(
                            (at, int(record["ContextTokens"]), int(record["GeneratedTokens"]))
                        )
                    except (KeyError, TypeError, ValueError) as error:
                        wanted = "needs TIMESTAMP, ContextTokens, GeneratedTokens"
                        raise FormatError(f"{path}, line {number}: {wanted} ({error})") from error
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise FormatError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        return Imported(arrivals_of(rows, f"Azure trace {path.name}"))


def _instant_ns(text: str) -> int:
    """Return the time in ns of a text such as `2023-11-16 18:15:46.6805900`.

    The times of Python have microseconds only.
    """
    whole, _, fraction = text.partition(".")
    seconds = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return int(seconds) * 10**9 + int(f"{fraction:0<9}"[:9])
