"""Run a sweep into a folder, from the beginning or from where it stopped."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lapsd.policies import spec_of
from lapsd.sim.experiment.prepared_scenario import Inputs
from lapsd.sim.sweeps import folders
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.grid import Sweep
from lapsd.sim.sweeps.stopping import Look, look
from lapsd.sim.sweeps.workers import Done, check_workers, run_here, run_in_processes, run_on_cluster
from lapsd.traces.files import BUNDLED, BUNDLED_PROFILES, BUNDLED_TRACES

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
    settings : a value or a list of values of anything in `sim.Scenario`: `requests=[10, 30],
        load=0.9`.
    workers : processes; None: one a core.
    client : a Dask client, to use its cluster instead.
    progress : called with (runs done, runs in all) after each chunk.

    Raises
    ------
    ValueError
        Naming the value and the bound, or the folder and what it holds.
    """
    document: dict[str, Any] = {
        "policies": list(policies),
        "seeds": seeds,
        "parameters": {name: list(values) for name, values in (parameters or {}).items()},
        "settings": settings,
    }
    if until_ci is not None:
        document["until_ci"] = until_ci
    check_workers(workers)
    runner = prepare(Sweep.from_document(document))
    folders.claim(Path(out), runner, overwrite=overwrite)
    finish(Path(out), runner, workers=workers, client=client, progress=progress)
    return folders.read(Path(out))


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
    runner = prepare(Sweep.from_document(folders.read_asked(Path(folder))["sweep"], str(folder)))
    finish(Path(folder), runner, workers=workers, client=client, progress=progress)
    return folders.read(Path(folder))


def prepare(sweep: Sweep, files: Mapping[str, str] | None = None) -> ChunkRunner:
    """A sweep with everything it needs, checked: what cannot run is refused before anything runs.

    Parameters
    ----------
    files : the files that names of traces and profiles in the sweep stand for; a name that is not
        there is a file's.

    Raises
    ------
    ValueError
        Naming the value and the bound.
    """
    files = files or {}
    inputs = Inputs.load(sweep.combinations(), files)
    loaded = (
        ("trace", inputs.traces, ".parquet"),
        ("profile", inputs.profiles, ".json"),
        ("arrivals", inputs.arrivals, ".parquet"),
    )
    hashes = {
        what: {name: _sha256(files.get(name, name), ending) for name in names}
        for what, names, ending in loaded
    }
    runner = ChunkRunner(sweep, inputs, hashes)
    _ = runner.policies
    return runner


def _sha256(name: str, ending: str) -> str:
    path = (
        BUNDLED / f"{name}{ending}" if name in (*BUNDLED_TRACES, *BUNDLED_PROFILES) else Path(name)
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def finish(
    folder: Path,
    runner: ChunkRunner,
    *,
    workers: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> None:
    """Run what is missing in a folder that is this sweep's.

    Raises
    ------
    ValueError
        If it holds another sweep, or a damaged part.
    OSError
        If it cannot be written; what was written stays.
    """
    check_workers(workers)
    folders.refuse_another(folder, runner)
    chunks, first_seed = runner.chunks, runner.sweep.first_seed
    missing = folders.missing(folder, chunks)
    total = sum(chunk.runs for chunk in chunks)
    done = total - sum(chunks[index].runs for index in missing)
    if progress:
        progress(done, total)
    stopped: dict[int, Look] = {}
    for seeds in runner.sweep.looks():
        now = [
            index
            for index in missing
            if chunks[index].scenario not in stopped
            and first_seed <= chunks[index].last_seed < first_seed + seeds
        ]
        for index, records in _run(runner, now, workers, client):
            folders.write_part(folder, index, records)
            done += chunks[index].runs
            if progress:
                progress(done, total)
        missing = [index for index in missing if index not in set(now)]
        if runner.sweep.until_ci is not None:
            going_on = [
                scenario for scenario in range(len(runner.settings)) if scenario not in stopped
            ]
            stopped |= _enough(folder, runner, seeds, going_on)
            skipped = sum(
                chunks[index].runs for index in missing if chunks[index].scenario in stopped
            )
            missing = [index for index in missing if chunks[index].scenario not in stopped]
            total -= skipped
            looks = {scenario: stopped.get(scenario) for scenario in range(len(runner.settings))}
            folders.write_looks(folder, looks, runner.settings)
            if progress and skipped:
                progress(done, total)


def _run(
    runner: ChunkRunner, chunks: list[int], workers: int | None, client: "Client | None"
) -> Iterator[Done]:
    if client is not None:
        return run_on_cluster(runner, chunks, client)
    workers = min(workers or os.cpu_count() or 1, max(1, len(chunks)))
    return run_here(runner, chunks) if workers == 1 else run_in_processes(runner, chunks, workers)


def _enough(folder: Path, runner: ChunkRunner, seeds: int, settings: list[int]) -> dict[int, Look]:
    """The settings that have seen enough after so many seeds, or all there are."""
    specs = [spec_of(p) for p in runner.policies]
    baseline = "fcfs" if "fcfs" in specs else specs[0]
    enough = {}
    for scenario in settings:
        parts = [
            index
            for index, chunk in enumerate(runner.chunks)
            if chunk.scenario == scenario and chunk.last_seed < runner.sweep.first_seed + seeds
        ]
        seen = look(folders.read_latencies(folder, parts), baseline, runner.sweep.until_ci or 1.0)
        if seen.enough or seeds == runner.sweep.seeds:
            enough[scenario] = seen
    return enough
