"""Run a sweep into a folder, or resume a stopped one."""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lapsd.policies import spec_of
from lapsd.sim.sweeps import folders
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.folders import SWEEP_FOLDER
from lapsd.sim.sweeps.grid import Sweep
from lapsd.sim.sweeps.parts import write_part
from lapsd.sim.sweeps.stopping import Look, look
from lapsd.sim.sweeps.workers import Done, check_workers, run_here, run_in_processes, run_on_cluster
from lapsd.traces.files import in_work, only_writer, publish

if TYPE_CHECKING:
    from distributed import Client

Progress = Callable[[int, int], None]


def sweep(
    out: str | Path,
    policies: Sequence[str] = ("fcfs", "laps-sd"),
    parameters: Mapping[str, Any] | None = None,
    *,
    seeds: int = 20,
    until_ci: float | None = None,
    workers: int | None = None,
    client: "Client | None" = None,
    overwrite: bool = False,
    engine: str = "auto",
    progress: Progress | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Run every combination, write the records into the folder `out`, and return them.

    Parameters
    ----------
    out : str or Path
        Folder of the records; it is made if there is none.
    policies : Sequence[str], default ('fcfs', 'laps-sd')
        Specs such as `laps-sd:follow=true`.
    parameters : Mapping[str, Any] or None, optional
        Values by name of a policy's parameter: `{"K": [2, 4], "M": "1.5,2"}`. A policy without that
        parameter runs once.
    seeds : int, default 20
        Workloads of each scenario; with `until_ci` the largest number of them.
    until_ci : float or None, optional
        Stop a scenario when its differences are known this well, as in `Sweep`.
    workers : int or None, optional
        Processes; None: one per core.
    client : Client or None, optional
        A Dask client; the sweep then runs on its cluster.
    overwrite : bool, default False
        Whether to replace a sweep that the folder holds.
    engine : str, default 'auto'
        The program that runs, as in `lapsd.simulate`; records do not depend on it.
    progress : Progress or None, optional
        Called with (runs done, all runs) after each chunk.
    **settings : Any
        A value or a list of values by field of `lapsd.Scenario`: `requests=[10, 30], load=0.9`.
        Texts may hold lists and ranges: `requests="10:50:20"`.

    Raises
    ------
    ValueError
        Naming the value and the bound, or the folder and what it holds.

    Examples
    --------
    >>> import lapsd
    >>> records = lapsd.sweep(
    ...     "grid",
    ...     ["fcfs", "laps-sd"],
    ...     {"K": [2, 4]},
    ...     seeds=2,
    ...     requests=10,
    ...     load=[0.5, 0.9],
    ...     workers=1,
    ... )
    >>> len(records)  # (1 + 2) policies, 2 loads, 2 seeds
    12
    """
    if not isinstance(parameters, Mapping | None):
        raise ValueError(f"parameters={parameters!r}: needs values by name, as in {{'K': [2, 4]}}")
    document: dict[str, Any] = {
        "policies": policies if isinstance(policies, str) else list(policies),
        "seeds": seeds,
        "parameters": dict(parameters or {}),
        "settings": settings,
    }
    if until_ci is not None:
        document["until_ci"] = until_ci
    check_workers(workers)
    folder, runner = Path(out), ChunkRunner.load(Sweep.from_document(document), engine=engine)
    runner.refuse_without_effect()
    start(folder, runner, overwrite=overwrite, workers=workers, client=client, progress=progress)
    return folders.read(folder)


def resume(
    folder: str | Path,
    *,
    workers: int | None = None,
    client: "Client | None" = None,
    engine: str = "auto",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Run exactly the missing runs of a stopped sweep, and return all its records.

    The `engine` may be another one than before.

    Parameters
    ----------
    folder : str or Path
        Folder of a stopped sweep.
    workers : int or None, optional
        Processes; None: one per core.
    client : Client or None, optional
        A Dask client; the runs then use its cluster.
    engine : str, default 'auto'
        The program that runs, as in `lapsd.simulate`.
    progress : Progress or None, optional
        Called with (runs done, all runs).

    Raises
    ------
    ValueError
        If the folder holds no sweep, or a trace, a profile or the version of lapsd has changed.

    Examples
    --------
    >>> import lapsd
    >>> records = lapsd.sweep("stopped", ["fcfs", "las"], seeds=2, requests=10, workers=1)
    >>> len(lapsd.resume("stopped", workers=1))  # nothing was missing
    4
    """
    folder = Path(folder)
    runner = ChunkRunner.load(folders.read_sweep_asked(folder), engine=engine)
    finish(folder, runner, workers=workers, client=client, progress=progress)
    return folders.read(folder)


def start(folder: Path, runner: ChunkRunner, *, overwrite: bool, **how: Any) -> None:
    """Claim a folder for a sweep, and `finish` it. An old sweep stays until the new one is whole.

    Raises
    ------
    ValueError
        If another process writes the folder, or it holds a sweep and `overwrite` is not set, or
        other files.
    OSError
        If a part cannot be written; the parts written before stay.
    """
    check_workers(how.get("workers"))
    with only_writer(folder):
        _finish(folder, folders.claim(folder, runner, overwrite=overwrite), runner, **how)


def finish(folder: Path, runner: ChunkRunner, **how: Any) -> None:
    """Run the missing chunks of a sweep and write them into its folder.

    Parameters
    ----------
    how : `workers`, `client` and `progress`, as in `sweep`.

    Raises
    ------
    ValueError
        If another process writes the folder, or it holds another sweep.
    OSError
        If a part cannot be written; the parts written before stay.
    """
    check_workers(how.get("workers"))
    folders.read_asked(in_work(folder, SWEEP_FOLDER))
    with only_writer(folder):
        _finish(folder, in_work(folder, SWEEP_FOLDER), runner, **how)


def _finish(
    folder: Path,
    work: Path,
    runner: ChunkRunner,
    *,
    workers: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> None:
    """Run the missing chunks into the folder `work`, and put the whole sweep into `folder`."""
    folders.refuse_another(work, runner)
    _run_missing(work, runner, workers, client, progress)
    publish(folder, SWEEP_FOLDER)


def _run_missing(
    folder: Path,
    runner: ChunkRunner,
    workers: int | None,
    client: "Client | None",
    progress: Progress | None,
) -> None:
    sweep = folders.read_asked(folder).get(folders.DIGEST, "")
    chunks, first_seed = runner.chunks, runner.sweep.first_seed
    missing = folders.missing(folder, chunks, runner.schema)
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
        with closing(_run(runner, now, workers, client)) as results:
            for index, records in results:
                write_part(folder, sweep, index, records)
                done += chunks[index].runs
                if progress:
                    progress(done, total)
        missing = [index for index in missing if index not in set(now)]
        if runner.sweep.until_ci is not None:
            every = range(len(runner.scenarios))
            running = [scenario for scenario in every if scenario not in stopped]
            stopped |= _stopped_after(folder, runner, seeds, running)
            skipped = sum(
                chunks[index].runs for index in missing if chunks[index].scenario in stopped
            )
            missing = [index for index in missing if chunks[index].scenario not in stopped]
            total -= skipped
            looks = {scenario: stopped.get(scenario) for scenario in every}
            folders.write_looks(folder, looks, runner.scenarios)
            if progress and skipped:
                progress(done, total)


def _run(
    runner: ChunkRunner, chunks: list[int], workers: int | None, client: "Client | None"
) -> Generator[Done, None, None]:
    if client is not None:
        return run_on_cluster(runner, chunks, client)
    workers = min(workers or os.cpu_count() or 1, max(1, len(chunks)))
    return run_here(runner, chunks) if workers == 1 else run_in_processes(runner, chunks, workers)


def _stopped_after(
    folder: Path, runner: ChunkRunner, seeds: int, scenarios: list[int]
) -> dict[int, Look]:
    """Return the looks at the scenarios that stop after `seeds` seeds, by scenario.

    A scenario stops when its differences are known well enough, or when no seeds are left.
    """
    specs = [spec_of(p) for p in runner.policies]
    baseline = "fcfs" if "fcfs" in specs else specs[0]
    stopped = {}
    for scenario in scenarios:
        parts = [
            index
            for index, chunk in enumerate(runner.chunks)
            if chunk.scenario == scenario and chunk.last_seed < runner.sweep.first_seed + seeds
        ]
        seen = look(folders.read_latencies(folder, parts), baseline, runner.sweep.until_ci or 1.0)
        if seen.enough or seeds == runner.sweep.seeds:
            stopped[scenario] = seen
    return stopped
