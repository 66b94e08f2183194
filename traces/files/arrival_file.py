"""Files of recorded arrivals: Parquet, one row per request in order of arrival."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lapsd.traces.arrival_trace import ArrivalTrace
from lapsd.traces.errors import FormatError
from lapsd.traces.files.reading import json_value, parquet_table, path_of
from lapsd.traces.files.trace_file import PREFIX_BLOCK, prefix_column
from lapsd.traces.files.writing import write_whole
from lapsd.traces.invariants import prefixes_of
from lapsd.traces.trace import PREFIX_HASHES

COLUMNS = ("arrival_ns", "prompt_tokens", "output_tokens")


def save_arrivals(trace: ArrivalTrace, path: str | Path) -> None:
    """Write arrivals to a Parquet file, completely or not at all.

    Parameters
    ----------
    trace : ArrivalTrace
        The arrivals.
    path : str or Path
        The file.

    Examples
    --------
    >>> import lapsd
    >>> import numpy as np
    >>> from lapsd.traces import ArrivalTrace
    >>> tokens = np.array([100, 200, 300])
    >>> recorded = ArrivalTrace(np.array([0, 5, 9]), tokens, tokens, source="by hand")
    >>> lapsd.save_arrivals(recorded, "recorded.parquet")
    """
    columns = {name: pa.array(getattr(trace, name)) for name in COLUMNS}
    note: dict[str, Any] = {"kind": "arrivals", "source": trace.source}
    if trace.prefixes is not None:
        columns[PREFIX_HASHES] = prefix_column(trace.prefixes)
        note[PREFIX_BLOCK] = trace.prefixes.block
    table = pa.table(columns).replace_schema_metadata({"lapsd": json.dumps(note)})
    write_whole(Path(path), lambda p: pq.write_table(table, p))


def load_arrivals(path: str | Path) -> ArrivalTrace:
    """Return the arrivals in a file that `save_arrivals` wrote.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    FormatError
        Naming the file and what is wrong.

    Examples
    --------
    >>> import lapsd
    >>> import numpy as np
    >>> from lapsd.traces import ArrivalTrace
    >>> tokens = np.array([100, 200, 300])
    >>> recorded = ArrivalTrace(np.array([0, 5, 9]), tokens, tokens, source="by hand")
    >>> lapsd.save_arrivals(recorded, "arrivals.parquet")
    >>> lapsd.load_arrivals("arrivals.parquet").arrival_ns
    array([0, 5, 9])
    """
    table = parquet_table(path_of(path, "arrivals"), f"arrivals {path}")
    raw = (table.schema.metadata or {}).get(b"lapsd", b"{}")
    note: Any = json_value(raw, f"arrivals {path}, metadata key 'lapsd'")
    if not isinstance(note, dict) or note.get("kind") != "arrivals":
        raise FormatError(
            f"arrivals {path}: not an arrivals file of lapsd (to make one: lapsd import azure or"
            " lapsd import mooncake)"
        )
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise FormatError(f"arrivals {path}: no column {missing[0]!r}")
    hashes = pa.list_(pa.int64())
    if PREFIX_HASHES in table.column_names and (
        table.column(PREFIX_HASHES).type != hashes or table.column(PREFIX_HASHES).null_count
    ):
        raise FormatError(f"arrivals {path}: column {PREFIX_HASHES!r}: must be {hashes}, complete")
    frame: pd.DataFrame = table.to_pandas()
    if frame[list(COLUMNS)].isna().to_numpy().any() or not all(
        frame[c].dtype.kind == "i" for c in COLUMNS
    ):
        raise FormatError(f"arrivals {path}: a value is missing or not a whole number")
    arrival, prompt, output = (frame[c].to_numpy(dtype=np.int64) for c in COLUMNS)
    try:
        lists = table.column(PREFIX_HASHES).to_pylist() if PREFIX_HASHES in frame else None
        prefixes = prefixes_of(lists, note.get(PREFIX_BLOCK), "requests")
        return ArrivalTrace(arrival, prompt, output, str(note.get("source")), prefixes)
    except FormatError as error:
        raise FormatError(f"arrivals {path}: {error}") from error
