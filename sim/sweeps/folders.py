"""The folder of a sweep: the sweep's description, and a Parquet file ("part") for each done chunk.

A part is complete or absent. Names of other files start with `_`, and names of unfinished files
with `.`, so `pandas.read_parquet(FOLDER)` reads exactly the records. Only one process writes here.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w

from lapsd.sim.experiment.scenario import Scenario
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.grid import Chunk, Sweep
from lapsd.sim.sweeps.stopping import Look
from lapsd.traces.files import claim_folder, write_whole
from lapsd.traces.files.reading import json_object

ASKED, SWEEP, LOOKS = "_sweep.json", "_sweep.toml", "_looks.json"


def part_of(folder: Path, chunk: int) -> Path:
    """Return the path of a chunk's part, by the index of the chunk in the sweep."""
    return folder / f"part-{chunk:06d}.parquet"


def claim(folder: Path, runner: ChunkRunner, *, overwrite: bool) -> None:
    """Write the sweep's description into an empty folder.

    Parameters
    ----------
    overwrite : whether to remove a sweep that the folder holds.

    Raises
    ------
    ValueError
        If the folder holds a sweep and `overwrite` is not set, or holds other files.
    OSError
        If it cannot be written.
    """
    claim_folder(folder, ASKED, "sweep", overwrite=overwrite, remove=(ASKED, "part-*.parquet"))
    toml = tomli_w.dumps(runner.sweep.document())
    write_whole(folder / SWEEP, lambda p: p.write_text(toml, encoding="utf-8"))
    document = json.dumps(asked(runner), indent=2) + "\n"
    write_whole(folder / ASKED, lambda p: p.write_text(document, encoding="utf-8"))


def asked(runner: ChunkRunner) -> dict[str, Any]:
    """Return the description of a sweep: two sweeps with equal descriptions give equal records."""
    return {
        "sweep": runner.sweep.document(),
        **{f"{what}_sha256": dict(names) for what, names in runner.sha256.items()},
        "lapsd": version("lapsd"),
        "chunks": len(runner.chunks),
        "runs": sum(chunk.runs for chunk in runner.chunks),
    }


def read_asked(folder: Path) -> dict[str, Any]:
    """Read the description of the folder's sweep.

    Raises
    ------
    ValueError
        If the folder holds no sweep, or the description cannot be read.
    """
    path = folder / ASKED
    if not path.is_file():
        raise ValueError(f"{folder} holds no sweep (there is no {ASKED})")
    document = json_object(path)
    if not isinstance(document.get("sweep"), dict):
        raise ValueError(f"{path}: describes no sweep")
    return document


def refuse_another(folder: Path, runner: ChunkRunner) -> None:
    """Check that the folder holds this sweep.

    Raises
    ------
    ValueError
        If it holds another one, naming the first difference.
    """
    before, now = read_asked(folder), asked(runner)
    with suppress(ValueError):  # the same values may be written in other ways
        before["sweep"] = Sweep.from_document(before["sweep"]).document()
    for what in now:
        if before.get(what) != now[what]:
            was, is_ = (
                _shorten(_difference(d.get(what), o.get(what)))
                for d, o in ((before, now), (now, before))
            )
            raise ValueError(f"{folder} holds another sweep: {what} was {was}, and is {is_}")


def _difference(value: Any, other: Any) -> Any:
    """Return the entries of `value` that are different or absent in `other`."""
    if not (isinstance(value, dict) and isinstance(other, dict)):
        return value
    return {k: _difference(v, other.get(k)) for k, v in value.items() if other.get(k) != v}


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."


def missing(folder: Path, chunks: Sequence[Chunk]) -> list[int]:
    """Return the indices of the chunks that are not done, and remove unfinished files.

    Raises
    ------
    ValueError
        Naming a part that is damaged, or that belongs to no chunk of this sweep.
    """
    for unfinished in folder.glob(".*.part-*.parquet"):
        unfinished.unlink()
    expected = {part_of(folder, index).name: chunk for index, chunk in enumerate(chunks)}
    for path in sorted(folder.glob("part-*.parquet")):
        if path.name not in expected:
            raise ValueError(f"{path}: belongs to no chunk of this sweep")
        try:
            rows = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowInvalid) as error:
            raise ValueError(
                f"{path}: damaged ({error}): remove it and resume the sweep to run it again"
            ) from error
        if rows != expected[path.name].runs:
            raise ValueError(
                f"{path}: holds {rows} records, not {expected[path.name].runs}: remove it and"
                " resume the sweep"
            )
    return [index for index in range(len(chunks)) if not part_of(folder, index).exists()]


def write_part(folder: Path, chunk: int, records: pa.Table) -> None:
    """Write a chunk's records to the disk, completely or not at all.

    Raises
    ------
    OSError
        Naming the file.
    """

    def write(path: Path) -> None:
        pq.write_table(records, path)
        with path.open("rb+") as file:
            os.fsync(file.fileno())

    write_whole(part_of(folder, chunk), write)


def read_latencies(folder: Path, chunks: Sequence[int]) -> pd.DataFrame:
    """Read policy, seed and mean latency of some chunks, which must all be done."""
    tables = [
        pq.read_table(part_of(folder, c), columns=["policy", "seed", "mean_latency_s"])
        for c in chunks
    ]
    latencies: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return latencies


def write_looks(
    folder: Path, looks: Mapping[int, Look | None], scenarios: Sequence[Scenario]
) -> None:
    """Write which scenarios stopped, after how many seeds, and how well differences were known."""
    document = [
        {
            **asdict(scenarios[s]),
            "stopped": seen is not None and seen.enough,
            **({} if seen is None else seen._asdict()),
        }
        for s, seen in looks.items()
    ]
    text = json.dumps(document, indent=1) + "\n"
    write_whole(folder / LOOKS, lambda p: p.write_text(text, encoding="utf-8"))


def read(folder: Path) -> pd.DataFrame:
    """Read all records in the folder.

    Raises
    ------
    ValueError
        If the folder holds no sweep or no records, or naming a part that is damaged.
    """
    read_asked(folder)
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise ValueError(f"{folder}: holds no records yet: resume the sweep")
    tables = []
    for path in paths:
        try:
            tables.append(pq.read_table(path))
        except (OSError, pa.ArrowInvalid) as error:
            raise ValueError(f"{path}: damaged ({error})") from error
    records: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return records
