"""Requests in kvcache-ai/Mooncake: JSON lines of `timestamp`, `input_length`, `output_length` and
`hash_ids`.

Timestamps are in ms, but rounded to about three seconds. They are kept as they are, so the requests
of three seconds arrive almost at once. A hash stands for all tokens up to the end of its block of
512. The hash of a last block that the prompt does not fill is left out, since no longer prompt has
it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lapsd.traces.arrival_trace import arrivals_of
from lapsd.traces.files.json_lines import count, counts, json_lines
from lapsd.traces.importers.importer import Imported, Importer
from lapsd.traces.prefixes import Prefixes

BLOCK = 512  # tokens
FIELDS = ("timestamp", "input_length", "output_length")


@dataclass(frozen=True)
class Mooncake(Importer):
    r"""Import the arrivals of a Mooncake trace.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lapsd.traces.importers import Mooncake
    >>> lines = [
    ...     '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}',
    ...     '{"timestamp": 3000, "input_length": 700, "output_length": 9, "hash_ids": [1, 3]}',
    ... ]
    >>> text = "\n".join(lines)
    >>> done = Path("mooncake.jsonl").write_text(text)
    >>> imported = Mooncake().read("mooncake.jsonl")
    >>> imported.trace.prompt_tokens
    array([600, 700])
    """

    name: ClassVar[str] = "mooncake"
    file: ClassVar[str] = (
        "JSON lines of timestamp, input_length, output_length, hash_ids (.gz allowed)."
    )

    def read(self, path: str | Path) -> Imported:
        """See `Importer.read`."""
        path, rows, hashes = Path(path), [], []
        for number, record in json_lines(path):
            stamp, prompt, output = (
                count(record.get(f), f, f"{path}, line {number}") for f in FIELDS
            )
            rows.append((stamp * 10**6, prompt, output))
            ids = record.get("hash_ids")
            if ids is not None:
                ids = counts(ids, "hash_ids", f"{path}, line {number}")[: prompt // BLOCK]
            hashes.append(ids)
        known = [ids for ids in hashes if ids is not None]
        whole = len(known) == len(rows)
        arrivals = arrivals_of(
            rows, f"Mooncake trace {path.name}", Prefixes.of(known, BLOCK) if whole else None
        )
        lack = f"{len(rows) - len(known)} of {len(rows)} lines lack hash_ids: no hashes are kept."
        return Imported(arrivals, notes=() if whole else (lack,))
