"""Arrivals in kvcache-ai/Mooncake: JSON lines of `timestamp`, `input_length`, `output_length`.

Timestamps are in ms, but rounded to about three seconds. They are kept as they are, so the requests
of three seconds arrive almost at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lapsd.traces.arrival_trace import arrivals_of
from lapsd.traces.files.json_lines import count, json_lines
from lapsd.traces.importers.importer import Imported, Importer

FIELDS = ("timestamp", "input_length", "output_length")


@dataclass(frozen=True)
class Mooncake(Importer):
    """Import the arrivals of a Mooncake trace."""

    name: ClassVar[str] = "mooncake"
    file: ClassVar[str] = "JSON lines of timestamp, input_length, output_length (.gz allowed)."

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`."""
        path, rows = Path(path), []
        for number, record in json_lines(path):
            stamp, prompt, output = (
                count(record.get(f), f, f"{path}, line {number}") for f in FIELDS
            )
            rows.append((stamp * 10**6, prompt, output))
        return Imported(arrivals_of(rows, f"Mooncake trace {path.name}"))
