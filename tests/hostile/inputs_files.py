"""Hostile files: traces, profiles, arrivals, prompts and files of other programs."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq

from lapsd.traces import load_trace
from lapsd.traces.files.trace_file import to_table
from tests.hostile.inputs import made

ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202e"


def trace(name: str, note: str | None = None, **columns) -> None:
    """Register a trace of four requests, with some columns replaced by these values."""

    @made(name)
    def write(path):
        table = to_table(load_trace("reference").take(range(4)))
        for column, values in columns.items():
            at = table.schema.get_field_index(column)
            table = table.set_column(at, column, pa.array(values))
        metadata = table.schema.metadata if note is None else {b"lapsd": note.encode()}
        pq.write_table(table.replace_schema_metadata(metadata), path)


trace("escapes.parquet", dataset=[ESCAPES] * 4, request_id=[ESCAPES, "a", "b\0", "c\ud7ff"])
trace("note-escapes.parquet", json.dumps({"schema_version": 1, "source": ESCAPES, "x": ESCAPES}))
made("fifo.jsonl")(os.mkfifo)
