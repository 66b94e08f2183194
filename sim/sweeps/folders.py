"""The folder of a sweep: the sweep's description, and a Parquet file ("part") for each done chunk.

A part is complete or absent. Names of other files start with `_`, and names of unfinished files
with `.`, so `pandas.read_parquet(FOLDER)` reads exactly the records. Only one process writes here.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import tomli_w

from lapsd.sim.experiment.scenario import Scenario
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.grid import Chunk, Sweep
from lapsd.sim.sweeps.parts import (
    PATTERN,
    DamagedPart,
    names_a_sweep,
    part_of,
    parts_in,
    read_part,
    refuse_other_columns,
)
from lapsd.sim.sweeps.stopping import Look
from lapsd.traces.files import (
    Kind,
    claim as claim_folder,
    first_difference,
    in_work,
    remove_unfinished,
    write_text,
)
from lapsd.traces.files.reading import json_file, json_object

ASKED, SWEEP, LOOKS = "_sweep.json", "_sweep.toml", "_looks.json"
DIGEST = "sha256"  # the key of the digest of the whole description
SWEEP_FOLDER = Kind("sweep", ASKED, (ASKED, SWEEP, LOOKS, PATTERN))


class IncompleteSweep(UserWarning):
    """Given when the records of an unfinished sweep are read."""


def claim(folder: Path, runner: ChunkRunner, *, overwrite: bool) -> Path:
    """Write the sweep's description, and return the folder for the parts.

    The parts go to `folder`, or to a folder in it if `folder` holds a sweep to replace.

    Parameters
    ----------
    overwrite : whether to replace a sweep that the folder holds.

    Raises
    ------
    ValueError
        If the folder holds a sweep and `overwrite` is not set, or holds other files.
    OSError
        If it cannot be written.
    """
    work = claim_folder(folder, SWEEP_FOLDER, overwrite=overwrite)
    write_text(work / SWEEP, tomli_w.dumps(runner.sweep.document()))
    document = asked(runner)
    write_text(work / ASKED, json.dumps(document | {DIGEST: _digest(document)}, indent=2) + "\n")
    return work


def asked(runner: ChunkRunner) -> dict[str, Any]:
    """Return the description of a sweep: two sweeps with equal descriptions give equal records."""
    return {
        "sweep": runner.sweep.document(),
        **{f"{what}_sha256": dict(names) for what, names in runner.sha256.items() if names},
        "lapsd": version("lapsd"),
        "chunks": len(runner.chunks),
        "runs": sum(chunk.runs for chunk in runner.chunks),
    }


def _digest(document: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in document.items() if name != DIGEST}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_asked(folder: Path) -> dict[str, Any]:
    """Read the description of the folder's sweep.

    Raises
    ------
    ValueError
        If the folder holds no sweep, or the description cannot be read or is damaged.
    """
    path = folder / ASKED
    if not path.is_file():
        raise ValueError(f"{folder} holds no sweep (there is no {ASKED})")
    document = json_object(path)
    if not isinstance(document.get("sweep"), dict):
        raise ValueError(f"{path}: describes no sweep")
    if document.get(DIGEST) not in (None, _digest(document)):
        raise ValueError(f"{path}: is damaged: its content does not match its digest")
    return document


def read_sweep_asked(folder: Path) -> Sweep:
    """Read the sweep to resume in a folder.

    Raises
    ------
    ValueError
        If the folder holds no sweep, or the sweep cannot be read.
    """
    document = read_asked(in_work(folder, SWEEP_FOLDER))
    if DIGEST not in document and any(map(names_a_sweep, parts_in(folder))):
        raise ValueError(f"{folder / ASKED}: is damaged: it has no digest, and its parts name one")
    return Sweep.from_document(document["sweep"], str(folder / ASKED))


def refuse_another(folder: Path, runner: ChunkRunner) -> None:
    """Check that the folder holds this sweep.

    Raises
    ------
    ValueError
        If it holds another one, naming the first difference.
    """
    before, now = read_asked(folder), asked(runner)
    before.pop(DIGEST, None)
    with suppress(ValueError):  # the same values may be written in other ways
        before["sweep"] = Sweep.from_document(before["sweep"]).document()
    before = {name: value for name, value in before.items() if value != {}}
    if (difference := first_difference(before, now)) is not None:
        raise ValueError(
            f"{folder} holds another sweep: {difference}: restore it to resume, or start a new"
            " sweep, with --overwrite in the same folder"
        )


def missing(folder: Path, chunks: Sequence[Chunk], schema: pa.Schema) -> list[int]:
    """Return the indices of the chunks that are not done, and remove unfinished files.

    A part that is damaged or foreign, or whose columns are not those of `schema`, is not done; a
    `DamagedPart` warning names it.

    Raises
    ------
    ValueError
        Naming a part that belongs to no chunk of this sweep.
    """
    remove_unfinished(folder)
    sweep, parts = read_asked(folder).get(DIGEST), set(parts_in(folder))
    left = []
    for index, chunk in enumerate(chunks):
        path = part_of(folder, index)
        if path not in parts:
            left.append(index)
            continue
        parts.remove(path)
        try:
            refuse_other_columns(path, read_part(path, sweep, chunk.runs).schema, schema)
        except ValueError as error:
            warnings.warn(f"{error}: its runs are done again", DamagedPart, stacklevel=2)
            left.append(index)
    if parts:
        raise ValueError(f"{min(parts)}: belongs to no chunk of this sweep: remove it")
    return left


def read_latencies(folder: Path, chunks: Sequence[int]) -> pd.DataFrame:
    """Read policy, seed and mean latency of some chunks, which must all be done."""
    sweep = read_asked(folder).get(DIGEST)
    tables = [
        read_part(part_of(folder, c), sweep).select(["policy", "seed", "mean_latency_s"])
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
    write_text(folder / LOOKS, json.dumps(document, indent=1) + "\n")


def read_looks(folder: Path) -> list[dict[str, Any]]:
    """Read what `write_looks` wrote; an empty list if it has written nothing.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    path = folder / LOOKS
    if not path.exists():
        return []
    try:
        return [
            {"stopped": bool(look["stopped"]), "seeds": int(look.get("seeds", 0))}
            for look in json_file(path)
        ]
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"{path}: is damaged ({error})") from error


def read(folder: str | Path) -> pd.DataFrame:
    """Read all records in the folder; an `IncompleteSweep` warning says how many are missing.

    Parameters
    ----------
    folder : str or Path
        Folder of a sweep.

    Raises
    ------
    ValueError
        If the folder holds no sweep or no records, or naming a part that is damaged or foreign.

    Examples
    --------
    >>> import lapsd
    >>> records = lapsd.sweep("small", ["fcfs", "las"], seeds=2, requests=10, workers=1)
    >>> len(lapsd.read_sweep("small")) == len(records)
    True
    """
    folder = Path(folder)
    document, paths = read_asked(folder), parts_in(folder)
    if not paths:
        raise ValueError(f"{folder}: holds no records yet: resume the sweep")
    if isinstance(chunks := document.get("chunks"), int):
        known = {part_of(folder, index) for index in range(chunks)}
        if strange := [path for path in paths if path not in known]:
            raise ValueError(f"{strange[0]}: belongs to no chunk of this sweep: remove it")
    try:
        tables = [read_part(path, document.get(DIGEST)) for path in paths]
        for path, table in zip(paths, tables, strict=True):
            refuse_other_columns(path, table.schema, tables[0].schema)
    except ValueError as error:
        raise ValueError(f"{error}: resume the sweep to run its runs again") from error
    records: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    _warn_of_missing(folder, document, len(records))
    return records


def _warn_of_missing(folder: Path, document: Mapping[str, Any], done: int) -> None:
    """Warn if runs of a sweep are missing, or if another sweep is going to replace it."""
    total, until_ci = document.get("runs"), "until_ci" in document["sweep"]
    if isinstance(total, int) and until_ci and (looks := read_looks(folder)):
        per_seed = total // (len(looks) * document["sweep"]["seeds"])
        total = sum(
            per_seed * (e["seeds"] if e["stopped"] else document["sweep"]["seeds"]) for e in looks
        )
    if isinstance(total, int) and done < total:
        count = f"{'up to ' if until_ci else ''}{total - done:,} of {total:,} runs are missing"
        text = f"{folder}: {count}: lapsd sweep --resume {folder} does them"
        warnings.warn(text, IncompleteSweep, stacklevel=3)
    if in_work(folder, SWEEP_FOLDER) != folder:
        text = f"{folder}: an unfinished sweep is to replace this one: resume it"
        warnings.warn(text, IncompleteSweep, stacklevel=3)
