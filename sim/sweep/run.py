"""Run a sweep into a folder, from the beginning or from where it stopped."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sim.sweep import parts
from sim.sweep.grid import Sweep
from sim.sweep.work import Work
from sim.sweep.workers import do_here, do_in_processes, do_on_cluster
from traces import load_profile, load_trace
from traces.trace_file import BUNDLED

if TYPE_CHECKING:
    from distributed import Client

Progress = Callable[[int, int], None]


def sweep(
    out: str | Path,
    policies: Sequence[str] = ("fcfs", "laps-sd"),
    parameters: dict[str, Sequence[Any]] | None = None,
    *,
    seeds: int = 20,
    workers: int | None = None,
    client: "Client | None" = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Run every combination into the folder `out`, and return all records.

    Parameters
    ----------
    policies : specs such as `laps-sd:follow=true`.
    parameters : values by name of a policy's parameter; a policy that lacks one runs without it.
    settings : a value or a list of values of anything in `sim.sweep.grid.Setting`: `requests=[10, 30], load=0.9`.
    workers : processes; None: one a core.
    client : a Dask client, to use its cluster instead.
    progress : called with (runs done, runs in all) after each chunk.

    Raises
    ------
    ValueError
        Naming the value and the bound, or the folder and what it holds.
    """
    document = {
        "policies": list(policies), "seeds": seeds,
        "parameters": {name: list(values) for name, values in (parameters or {}).items()}, "settings": settings,
    }  # fmt: skip
    work = load_work(Sweep.from_document(document))
    parts.claim(Path(out), work, overwrite=overwrite)
    finish(Path(out), work, workers=workers, client=client, progress=progress)
    return parts.read(Path(out))


def resume(
    folder: str | Path,
    *,
    workers: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Do exactly the runs that a stopped sweep is missing, and return all records.

    Raises
    ------
    ValueError
        If the folder holds no sweep, or a trace, a profile or lapsd is not what it was.
    """
    work = load_work(Sweep.from_document(parts.read_asked(Path(folder))["sweep"], str(folder)))
    finish(Path(folder), work, workers=workers, client=client, progress=progress)
    return parts.read(Path(folder))


def load_work(sweep: Sweep) -> Work:
    """A sweep with everything it needs, checked: what cannot run is refused before anything runs.

    Raises
    ------
    ValueError
        Naming the value and the bound.
    """
    settings = sweep.combinations()
    traces = {name: load_trace(name) for name in dict.fromkeys(s.trace for s in settings)}
    profiles = {name: load_profile(name) for name in dict.fromkeys(s.profile for s in settings)}
    work = Work(
        sweep, traces, profiles,
        {name: _sha256(name, ".parquet") for name in traces}, {name: _sha256(name, ".json") for name in profiles},
    )  # fmt: skip
    _ = work.policies
    for setting in settings:
        work.place(setting)
    return work


def _sha256(name: str, ending: str) -> str:
    path = BUNDLED / f"{name}{ending}" if name == "reference" else Path(name)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def finish(
    folder: Path,
    work: Work,
    *,
    workers: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> None:
    """Do what is missing in a folder that is this sweep's.

    Raises
    ------
    ValueError
        If it holds another sweep, or a damaged part.
    OSError
        If it cannot be written; what was written stays.
    """
    parts.refuse_another(folder, work)
    places = parts.missing(folder, work.chunks)
    total = sum(chunk.runs for chunk in work.chunks)
    done = total - sum(work.chunks[place].runs for place in places)
    if progress:
        progress(done, total)
    workers = min(workers or os.cpu_count() or 1, max(1, len(places)))
    if client is not None:
        finished = do_on_cluster(work, places, client)
    elif workers == 1:
        finished = do_here(work, places)
    else:
        finished = do_in_processes(work, places, workers)
    for place, records in finished:
        parts.write_part(folder, place, records)
        done += work.chunks[place].runs
        if progress:
            progress(done, total)
