"""Run a sweep into a folder, from the beginning or from where it stopped."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from policies import spec_of
from sim.sweeps import parts
from sim.sweeps.grid import Sweep
from sim.sweeps.looks import Look, look
from sim.sweeps.work import Work
from sim.sweeps.workers import Done, do_here, do_in_processes, do_on_cluster
from traces import load_arrivals, load_profile, load_trace
from traces.files import BUNDLED

if TYPE_CHECKING:
    from distributed import Client

Progress = Callable[[int, int], None]


def sweep(
    out: str | Path,
    policies: Sequence[str] = ("fcfs", "laps-sd"),
    parameters: dict[str, Sequence[Any]] | None = None,
    *,
    seeds: int = 20,
    until_ci: float | None = None,
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
    seeds, until_ci : seeds of each setting, or the most, stopping at looks as in `Sweep`.
    settings : a value or a list of values of anything in `sim.sweeps.grid.Setting`: `requests=[10, 30], load=0.9`.
    workers : processes; None: one a core.
    client : a Dask client, to use its cluster instead.
    progress : called with (runs done, runs in all) after each chunk.

    Raises
    ------
    ValueError
        Naming the value and the bound, or the folder and what it holds.
    """
    document: dict[str, Any] = {
        "policies": list(policies), "seeds": seeds,
        "parameters": {name: list(values) for name, values in (parameters or {}).items()}, "settings": settings,
    }  # fmt: skip
    if until_ci is not None:
        document["until_ci"] = until_ci
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


def load_work(sweep: Sweep, files: Mapping[str, str] | None = None) -> Work:
    """A sweep with everything it needs, checked: what cannot run is refused before anything runs.

    Parameters
    ----------
    files : the files that names of traces and profiles in the sweep stand for; a name that is not there is a file's.

    Raises
    ------
    ValueError
        Naming the value and the bound.
    """
    settings = sweep.combinations()
    files = files or {}
    traces = {name: load_trace(files.get(name, name)) for name in dict.fromkeys(s.trace for s in settings)}
    profiles = {name: load_profile(files.get(name, name)) for name in dict.fromkeys(s.profile for s in settings)}
    arrivals = {name: load_arrivals(name) for name in dict.fromkeys(s.arrivals for s in settings) if name}
    work = Work(
        sweep, traces, profiles,
        {name: _sha256(files.get(name, name), ".parquet") for name in traces},
        {name: _sha256(files.get(name, name), ".json") for name in profiles},
        arrivals, {name: _sha256(name, ".parquet") for name in arrivals},
    )  # fmt: skip
    _ = work.policies
    for setting in settings:
        work.place(setting)
        setting.coming(arrivals[setting.arrivals] if setting.arrivals else None)
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
    to_do = parts.missing(folder, work.chunks)
    chunks, first_seed = work.chunks, work.sweep.first_seed
    total = sum(chunk.runs for chunk in chunks)
    done = total - sum(chunks[place].runs for place in to_do)
    if progress:
        progress(done, total)
    told: dict[int, Look] = {}
    for seeds in work.sweep.looks():
        places = [
            place for place in to_do
            if chunks[place].setting not in told and first_seed <= chunks[place].last_seed < first_seed + seeds
        ]  # fmt: skip
        for place, records in _done_by(work, places, workers, client):
            parts.write_part(folder, place, records)
            done += chunks[place].runs
            if progress:
                progress(done, total)
        to_do = [place for place in to_do if place not in set(places)]
        if work.sweep.until_ci is not None:
            told |= _enough(folder, work, seeds, [s for s in range(len(work.settings)) if s not in told])
            skipped = sum(chunks[place].runs for place in to_do if chunks[place].setting in told)
            to_do = [place for place in to_do if chunks[place].setting not in told]
            total -= skipped
            parts.write_looks(folder, {s: told.get(s) for s in range(len(work.settings))}, work.settings)
            if progress and skipped:
                progress(done, total)


def _done_by(work: Work, places: list[int], workers: int | None, client: "Client | None") -> Iterator[Done]:
    if client is not None:
        return do_on_cluster(work, places, client)
    workers = min(workers or os.cpu_count() or 1, max(1, len(places)))
    return do_here(work, places) if workers == 1 else do_in_processes(work, places, workers)


def _enough(folder: Path, work: Work, seeds: int, settings: list[int]) -> dict[int, Look]:
    """The settings that have seen enough after so many seeds, or all there are."""
    specs = [spec_of(p) for p in work.policies]
    baseline = "fcfs" if "fcfs" in specs else specs[0]
    found = {}
    for setting in settings:
        places = [
            place for place, chunk in enumerate(work.chunks)
            if chunk.setting == setting and chunk.last_seed < work.sweep.first_seed + seeds
        ]  # fmt: skip
        seen = look(parts.read_places(folder, places), baseline, work.sweep.until_ci or 1.0)
        if seen.enough or seeds == work.sweep.seeds:
            found[setting] = seen
    return found
