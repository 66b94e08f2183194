"""Recorded arrivals: when real requests came, and how long they were.

One Parquet file, a row a request in order of arrival: `arrival_ns`, `prompt_tokens`, `output_tokens`. Workloads take
the gaps, rescaled to a load, from a random place on. Knows nothing of acceptance.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from traces.errors import FormatError
from traces.files import write_whole

COLUMNS = ("arrival_ns", "prompt_tokens", "output_tokens")


class ArrivalTrace:
    """Arrivals of real requests.

    Parameters
    ----------
    arrival_ns, prompt_tokens, output_tokens : int64 arrays (N,), N at least 2
        Arrivals never decrease, and the last is after the first.
    source : where they came from.

    Raises
    ------
    FormatError
        If they do not.
    """

    def __init__(
        self,
        arrival_ns: NDArray[np.int64],
        prompt_tokens: NDArray[np.int64],
        output_tokens: NDArray[np.int64],
        source: str,
    ) -> None:
        if len(arrival_ns) < 2 or arrival_ns[-1] <= arrival_ns[0]:
            raise FormatError(f"{source}: {len(arrival_ns)} arrivals at one instant: at least two at different ones")
        if (falls := np.flatnonzero(np.diff(arrival_ns) < 0)).size:
            raise FormatError(f"{source}: arrival {falls[0] + 1} is before the one that it follows")
        self.arrival_ns, self.prompt_tokens, self.output_tokens = arrival_ns, prompt_tokens, output_tokens
        self.source = source

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def __str__(self) -> str:
        return self.source

    @property
    def gaps(self) -> NDArray[np.float64]:
        """Times between arrivals, of mean 1, (N − 1,)."""
        gaps = np.diff(self.arrival_ns).astype(float)
        return np.asarray(gaps / gaps.mean())

    @property
    def rate_per_s(self) -> float:
        """Arrivals a second."""
        return float((len(self) - 1) / (self.arrival_ns[-1] - self.arrival_ns[0]) * 1e9)

    @property
    def cv(self) -> float:
        """Standard deviation of the gaps over their mean."""
        return float(self.gaps.std())


def arrivals_of(rows: list[tuple[int, int, int]], source: str) -> ArrivalTrace:
    """Arrivals from an instant (ns), a prompt and an output length a request, in any order; the first is at 0.

    Raises
    ------
    FormatError
        If there are none, or all came at one instant.
    """
    if not rows:
        raise FormatError(f"{source}: no requests")
    arrival, prompt, output = np.array(sorted(rows, key=lambda row: row[0]), dtype=np.int64).T
    return ArrivalTrace(arrival - arrival[0], prompt, output, source)


def save_arrivals(trace: ArrivalTrace, path: str | Path) -> None:
    """Write arrivals as Parquet, whole or not at all."""
    table = pa.table({name: getattr(trace, name) for name in COLUMNS})
    table = table.replace_schema_metadata({"lapsd": json.dumps({"kind": "arrivals", "source": trace.source})})
    write_whole(Path(path), lambda p: pq.write_table(table, p))


def load_arrivals(path: str | Path) -> ArrivalTrace:
    """Read what `save_arrivals` wrote.

    Raises
    ------
    FormatError
        Naming the file and what is wrong.
    """
    if not Path(path).is_file():
        raise FormatError(f"arrivals {path}: there is no such file")
    try:
        table = pq.read_table(path)
        told: Any = json.loads((table.schema.metadata or {}).get(b"lapsd", b"{}"))
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise FormatError(f"arrivals {path}: {reason}") from error
    if not isinstance(told, dict) or told.get("kind") != "arrivals":
        raise FormatError(f"arrivals {path}: not arrivals of lapsd (lapsd import azure or mooncake makes them)")
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise FormatError(f"arrivals {path}: there is no column {missing[0]!r}")
    frame: pd.DataFrame = table.to_pandas()
    if frame[list(COLUMNS)].isna().to_numpy().any() or not all(frame[c].dtype.kind == "i" for c in COLUMNS):
        raise FormatError(f"arrivals {path}: a value is missing, or no whole number")
    arrival, prompt, output = (frame[c].to_numpy(dtype=np.int64) for c in COLUMNS)
    return ArrivalTrace(arrival, prompt, output, str(told.get("source")))
