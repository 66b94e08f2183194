"""Run a reproduction into a folder: derived traces, sweeps, findings, figures, claims, report."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from sim.reproduce.plan import (
    FULL,
    MEASURED,
    RECORDED,
    SHUFFLED,
    Inputs,
    Size,
    derived_files,
    spread_name,
    stretch_name,
    sweeps,
)
from sim.sweeps import folders
from sim.sweeps.chunks import ChunkRunner
from sim.sweeps.run import finish, prepare
from traces import Trace, load_profile, load_trace, save_trace
from traces.acceptance_model import AcceptanceModel, fit_acceptance, generate
from traces.describe import shuffled
from traces.errors import FormatError
from traces.files import make_writable_folder, write_whole

MARK, TRACES, RUNS, FIGURES = "_reproduction.json", "traces", "runs", "figures"
LONGEST_OUTPUT = 8_192  # tokens
Told = Callable[[str, int, int], None]  # what, done, in all


def claim(folder: Path, inputs: Inputs, size: Size, *, overwrite: bool, resume: bool) -> None:
    """Make the folder a reproduction's of these inputs.

    Raises
    ------
    ValueError
        If it holds another one, or anything else; or one of the same, without `resume` or `overwrite`.
    """
    make_writable_folder(folder)
    wanted = {
        "trace": inputs.trace_name,
        "profile": inputs.profile_name,
        "size": asdict(size),
        "lapsd": version("lapsd"),
    }
    wanted = json.loads(json.dumps(wanted))
    mark = folder / MARK
    if mark.exists():
        try:
            before = json.loads(mark.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{mark}: cannot be read: {error}") from error
        if resume and before != wanted:
            differs = next(k for k in wanted if not isinstance(before, dict) or before.get(k) != wanted[k])
            raise ValueError(f"{folder} holds another reproduction ({differs} differs): give --overwrite")
        if not (resume or overwrite):
            raise ValueError(f"{folder} holds a reproduction already: give --resume to go on with it, or --overwrite")
        if overwrite:
            mark.unlink()  # first: without it what is left is nobody's
            for made in (TRACES, RUNS):
                shutil.rmtree(folder / made, ignore_errors=True)
    elif others := [e.name for e in folder.iterdir() if not e.name.startswith((".", "_"))]:
        raise ValueError(f"{folder} is not empty and holds no reproduction ({min(others)}): choose another folder")
    write_whole(mark, lambda p: p.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8"))


def make_traces(inputs: Inputs, size: Size, folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Write the derived traces that are not there; returns them, and why some cannot be made."""
    folder.mkdir(exist_ok=True)
    names = derived_files(folder, size)
    missing: list[str] = []
    if not names[SHUFFLED].exists():
        save_trace(shuffled(inputs.trace, np.random.default_rng(0)), names[SHUFFLED])
    if not all(path.exists() for path in names.values()):
        try:
            models = fit_acceptance(inputs.trace)
        except FormatError as error:
            missing.append(f"figures 10 to 13 (on generated requests): {error}")
            return {SHUFFLED: names[SHUFFLED]}, missing
        for spread in size.spreads:
            made = generate(inputs.trace, models, requests=size.generated, spread=spread)
            save_trace(made, names[spread_name(spread)])
        for stretch in size.stretches:
            save_trace(_stretched(inputs.trace, models, stretch, size.generated), names[stretch_name(stretch)])
    return names, missing


def _stretched(trace: Trace, models: Mapping[str, AcceptanceModel], stretch: float, requests: int) -> Trace:
    """Generated requests whose log output lengths lie `stretch` times as far from the median as recorded."""
    rows = np.random.default_rng([0, 7]).integers(len(trace), size=requests)
    middle = float(np.median(trace.output_tokens))
    outputs = np.rint(middle * (trace.output_tokens[rows] / middle) ** stretch)
    lengths = np.clip(outputs, 1, LONGEST_OUTPUT).astype(np.int64)
    return generate(trace, models, prompt_tokens=trace.prompt_tokens[rows], output_tokens=lengths)


def run_sweep(
    folder: Path, work: ChunkRunner, *, workers: int | None, told: Callable[[int, int], None] | None
) -> pd.DataFrame:
    """The sweep's records: those that are there, and the missing ones run."""
    if (folder / folders.ASKED).exists():
        try:
            folders.refuse_another(folder, work)
        except ValueError:
            folders.claim(folder, work, overwrite=True)
    else:
        folders.claim(folder, work, overwrite=False)
    finish(folder, work, workers=workers, progress=told)
    return folders.read(folder)


def read_finished(folder: Path, work: ChunkRunner) -> pd.DataFrame | None:
    """The sweep's records, if all of them are there.

    Raises
    ------
    ValueError
        If the folder holds another sweep, or a damaged part.
    """
    if not (folder / folders.ASKED).exists():
        return None
    folders.refuse_another(folder, work)
    return None if folders.missing(folder, work.chunks) else folders.read(folder)


def reproduce(
    out: str | Path,
    *,
    trace: str = "reference",
    profile: str = "reference",
    size: Size = FULL,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    draw_only: bool = False,
    told: Told | None = None,
) -> list[str]:
    """Reproduce and question the LAPS-SD paper on a trace and a profile, into the folder `out`.

    Writes `figures/` (PNG and PDF), `claims.md`, `report.html`, the tables as CSV, and every run under `runs/`.

    Parameters
    ----------
    trace, profile : files, or `reference`.
    size : `FULL` or `QUICK`.
    workers : processes; None: one a core.
    resume : go on with a stopped one; runs that are there are not run again.
    draw_only : run nothing: draw from the sweeps that are there.
    told : called with (what, done, total).

    Returns
    -------
    What is missing, a line each; nothing if all could be drawn.

    Raises
    ------
    ValueError
        For bad input, naming it.
    """
    from sim.reproduce.report import write_report

    folder = Path(out)
    inputs = Inputs(trace, profile, load_trace(trace), load_profile(profile))
    if draw_only and not (folder / MARK).exists():
        raise ValueError(f"{folder} holds no reproduction (there is no {MARK}) to draw from")
    claim(folder, inputs, size, overwrite=overwrite, resume=resume or draw_only)
    for name in (TRACES, RUNS, FIGURES):
        (folder / name).mkdir(exist_ok=True)
    if told:
        told("traces", 0, 1)
    derived, missing = make_traces(inputs, size, folder / TRACES)
    if told:
        told("traces", 1, 1)
    planned = sweeps(inputs, size)
    if missing:
        del planned["map"], planned["lengths"]
    files = {name: str(path) for name, path in derived.items()} | {RECORDED: trace, MEASURED: profile}
    records = {}
    for name, wanted in planned.items():
        work, place = prepare(wanted, files), folder / RUNS / name
        if draw_only:
            found = read_finished(place, work)
            if found is None:
                missing.append(f"what is drawn from the sweep {name!r}: it is not there, or not finished")
                continue
        else:
            progress = None if told is None else lambda done, total, name=name: told(name, done, total)
            found = run_sweep(place, work, workers=workers, told=progress)
        records[name] = found
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return write_report(folder, inputs, size, records, derived, missing, when, told)
