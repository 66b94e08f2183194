"""A sweep's folder: what was asked, and a Parquet part for each chunk that is done, each there
whole or not at all.

Everything that is not a part starts with `_`, and what is being written with `.`:
`pandas.read_parquet(FOLDER)` reads the records. Only one process ever writes here.
"""

import json
import os
from collections.abc import Mapping, Sequence
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
from lapsd.sim.sweeps.grid import Chunk
from lapsd.sim.sweeps.stopping import Look
from lapsd.traces.files import claim_folder, write_whole

ASKED, SWEEP, LOOKS = "_sweep.json", "_sweep.toml", "_looks.json"


def part_of(folder: Path, chunk: int) -> Path:
    """The file of a chunk, by its index in the sweep."""
    return folder / f"part-{chunk:06d}.parquet"


def claim(folder: Path, runner: ChunkRunner, *, overwrite: bool) -> None:
    """Make the folder a sweep's, with nothing done yet.

    Raises
    ------
    ValueError
        If it holds a sweep already and `overwrite` is not set, or anything else.
    OSError
        If it cannot be written.
    """
    claim_folder(folder, ASKED, "sweep", overwrite=overwrite, remove=(ASKED, "part-*.parquet"))
    toml = tomli_w.dumps(runner.sweep.document())
    write_whole(folder / SWEEP, lambda p: p.write_text(toml, encoding="utf-8"))
    document = json.dumps(asked(runner), indent=2) + "\n"
    write_whole(folder / ASKED, lambda p: p.write_text(document, encoding="utf-8"))


def asked(runner: ChunkRunner) -> dict[str, Any]:
    """What makes two sweeps the same."""
    return {
        "sweep": runner.sweep.document(),
        **{f"{what}_sha256": dict(names) for what, names in runner.sha256.items()},
        "lapsd": version("lapsd"),
        "chunks": len(runner.chunks),
        "runs": sum(chunk.runs for chunk in runner.chunks),
    }


def read_asked(folder: Path) -> dict[str, Any]:
    """What the folder's sweep was asked.

    Raises
    ------
    ValueError
        If it holds no sweep, or cannot be read.
    """
    path = folder / ASKED
    if not path.is_file():
        raise ValueError(f"{folder} holds no sweep (there is no {ASKED})")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or "sweep" not in document:
            raise ValueError("no sweep in it")
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    return document


def refuse_another(folder: Path, runner: ChunkRunner) -> None:
    """See that the folder's sweep is this one.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    before, now = read_asked(folder), asked(runner)
    for what in now:
        if before.get(what) != now[what]:
            was, is_ = (
                _shorten(_difference(d.get(what), o.get(what)))
                for d, o in ((before, now), (now, before))
            )
            raise ValueError(f"{folder} holds another sweep: {what} was {was}, and is {is_}")


def _difference(value: Any, other: Any) -> Any:
    """The part of a mapping that is not in another."""
    if not (isinstance(value, dict) and isinstance(other, dict)):
        return value
    return {k: _difference(v, other.get(k)) for k, v in value.items() if other.get(k) != v}


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."


def missing(folder: Path, chunks: Sequence[Chunk]) -> list[int]:
    """Indices of the chunks that are not done. Removes what a killed writer left.

    Raises
    ------
    ValueError
        Naming a part that is damaged, or that no chunk of this sweep has made.
    """
    for left in folder.glob(".*.part-*.parquet"):
        left.unlink()
    expected = {part_of(folder, index).name: chunk for index, chunk in enumerate(chunks)}
    for path in sorted(folder.glob("part-*.parquet")):
        if path.name not in expected:
            raise ValueError(f"{path}: no chunk of this sweep makes it")
        try:
            rows = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowInvalid) as error:
            raise ValueError(
                f"{path}: damaged ({error}): remove it, and resume: its runs are done again"
            ) from error
        if rows != expected[path.name].runs:
            raise ValueError(
                f"{path}: {rows} records, not {expected[path.name].runs}: remove it, and resume"
            )
    return [index for index in range(len(chunks)) if not part_of(folder, index).exists()]


def write_part(folder: Path, chunk: int, records: pa.Table) -> None:
    """Write a chunk's records, whole or not at all, and on the disk before they count.

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
    """Policy, seed and mean latency of those chunks, all of them there."""
    tables = [
        pq.read_table(part_of(folder, c), columns=["policy", "seed", "mean_latency_s"])
        for c in chunks
    ]
    latencies: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return latencies


def write_looks(
    folder: Path, looks: Mapping[int, Look | None], settings: Sequence[Scenario]
) -> None:
    """Write which settings were stopped, after how many seeds, and what was known then."""
    document = [
        {
            **asdict(settings[s]),
            "stopped": seen is not None and seen.enough,
            **({} if seen is None else seen._asdict()),
        }
        for s, seen in looks.items()
    ]
    text = json.dumps(document, indent=1) + "\n"
    write_whole(folder / LOOKS, lambda p: p.write_text(text, encoding="utf-8"))


def read(folder: Path) -> pd.DataFrame:
    """All records that are there.

    Raises
    ------
    ValueError
        If the folder holds no sweep, none of it is done, or a part is damaged (named).
    """
    read_asked(folder)
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise ValueError(f"{folder}: nothing of this sweep is done yet: resume it")
    tables = []
    for path in paths:
        try:
            tables.append(pq.read_table(path))
        except (OSError, pa.ArrowInvalid) as error:
            raise ValueError(f"{path}: damaged ({error})") from error
    records: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return records
