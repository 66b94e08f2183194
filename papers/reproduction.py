"""Run a reproduction into a folder: derived traces, sweeps, answers, report."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from lapsd.papers.folder import MARK, REPRODUCTION, RUNS, TRACES, check_same, claim
from lapsd.papers.inputs import MEASURED, RECORDED, Inputs, Size
from lapsd.papers.laps_sd.paper import LAPS_SD
from lapsd.papers.pages import write_report
from lapsd.papers.question import Evidence, Paper, Question, ask
from lapsd.papers.report import Report, Table
from lapsd.papers.words import listed
from lapsd.sim.engine import check_engine
from lapsd.sim.sweeps import folders
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.execution import finish, start
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import load_arrivals, load_profile, load_trace, save_trace
from lapsd.traces.errors import FormatError
from lapsd.traces.files import in_work, only_writer, publish

Progress = Callable[[str, int, int], None]  # name of the step, done, total


def reproduce(
    out: str | Path,
    *,
    paper: Paper = LAPS_SD,
    trace: str | None = None,
    profile: str | None = None,
    size: Size | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    draw_only: bool = False,
    engine: str = "auto",
    progress: Progress | None = None,
) -> list[str]:
    """Reproduce a paper on a trace and a profile, and write the report into the folder `out`.

    Writes `figures/` (PNG and PDF), `claims.md`, `report.html`, the tables as CSV, and every run
    under `runs/`.

    Parameters
    ----------
    trace, profile : files, or names of bundled ones; None: the paper's defaults.
    size : how much is run; None: the paper's full size.
    workers : number of processes; None: one per core.
    overwrite : replace a reproduction in the folder, once the new one is whole.
    resume : continue a stopped reproduction without repeating its finished runs.
    draw_only : run nothing, and draw only from finished sweeps.
    engine : the program that runs the sweeps, as in `lapsd.simulate`; results do not depend on it.
    progress : called with (name of the step, done, total).

    Returns
    -------
    One line for each question that was left out; an empty list if every question was answered.

    Raises
    ------
    ValueError
        For bad input; the message names the value.
    """
    check_engine(engine)
    folder, show = Path(out), progress or (lambda what, done, total: None)
    trace, profile = trace or paper.trace, profile or paper.profile
    named = named_arrivals(paper.arrivals or ())
    inputs = Inputs(trace, profile, load_trace(trace), load_profile(profile), named)
    size = size or paper.full
    if draw_only and not (folder / MARK).exists():
        raise ValueError(f"{folder} holds no reproduction (no file {MARK}) to draw from")
    with only_writer(folder):
        if draw_only:
            check_same(folder, paper, inputs, size)
            return _reproduce(folder, paper, inputs, size, workers, draw_only, engine, show)
        work = claim(folder, paper, inputs, size, overwrite=overwrite, resume=resume)
        missing = _reproduce(work, paper, inputs, size, workers, draw_only, engine, show)
        publish(folder, REPRODUCTION)
    return missing


def named_arrivals(files: Sequence[str]) -> dict[str, str]:
    """Return files of recorded arrivals by name.

    Raises
    ------
    ValueError
        If a file does not hold arrivals, or two have one name.
    """
    named: dict[str, str] = {}
    for file in files:
        load_arrivals(file)
        if Path(file).stem in named:
            raise ValueError(f"arrivals={file}: there are two files named {Path(file).stem}")
        named[Path(file).stem] = file
    return named


def _reproduce(
    folder: Path,
    paper: Paper,
    inputs: Inputs,
    size: Size,
    workers: int | None,
    draw_only: bool,
    engine: str,
    show: Progress,
) -> list[str]:
    """Run or read all sweeps and write the report into `folder`, which is claimed."""
    show("traces", 0, 1)
    files, refused = make_traces(folder / TRACES, paper.questions, inputs, size)
    show("traces", 1, 1)
    names = {question: question.derives(inputs, size).keys() for question in paper.questions}
    questions = [question for question in paper.questions if not names[question] & refused.keys()]
    reasons = (
        f"{listed([q.about for q in paper.questions if name in names[q]])}: {reason}"
        for name, reason in refused.items()
    )
    missing = list(dict.fromkeys(reasons))  # a reason that several traces share appears once
    named = {name: str(path) for name, path in files.items()} | {
        RECORDED: inputs.trace_name,
        MEASURED: inputs.profile_name,
    }
    records = {}
    for name, sweep in needed(questions, inputs, size).items():
        runner, runs = ChunkRunner.load(sweep, named, engine), folder / RUNS / name
        if not draw_only:
            records[name] = run_sweep(runs, runner, workers, partial(show, name))
        elif (finished := read_finished(runs, runner)) is not None:
            records[name] = finished
        else:
            missing.append(f"all that needs the sweep {name!r}: the sweep has not finished")
    answers, unanswered = ask(questions, Evidence(inputs, size, records, files))
    report = Report(
        paper.title,
        paper.intro(inputs, size),
        paper.settings(inputs, size),
        answers,
        [*missing, *unanswered],
        provenance(inputs, sum(map(len, records.values()))),
    )
    write_report(folder, report, partial(show, "figures"))
    return list(report.missing)


def needed(questions: Sequence[Question], inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return the sweeps of all questions, by name, in the order of the questions."""
    sweeps: dict[str, Sweep] = {}
    for question in questions:
        for name, sweep in question.needs(inputs, size).items():
            assert sweeps.setdefault(name, sweep) == sweep, f"two sweeps are called {name}"
    return sweeps


def make_traces(
    folder: Path, questions: Sequence[Question], inputs: Inputs, size: Size
) -> tuple[dict[str, Path], dict[str, str]]:
    """Write the derived traces that do not exist yet.

    Returns the files by name, and, for each trace that cannot be derived, the reason by name.
    """
    folder.mkdir(exist_ok=True)
    files, refused = {}, {}
    for name, make in {n: m for q in questions for n, m in q.derives(inputs, size).items()}.items():
        files[name] = folder / f"{name.replace(' ', '-')}.parquet"
        try:
            if not files[name].exists():
                save_trace(make(), files[name])
        except FormatError as error:
            refused[name] = str(error)
    return {name: path for name, path in files.items() if name not in refused}, refused


def run_sweep(
    folder: Path, runner: ChunkRunner, workers: int | None, progress: Callable[[int, int], None]
) -> pd.DataFrame:
    """Run what is missing of a sweep, and return all of its records."""
    folder.parent.mkdir(exist_ok=True)
    how: dict[str, Any] = {"workers": workers, "progress": progress}
    if _is_begun(folder, runner):
        finish(folder, runner, **how)
    else:
        start(folder, runner, overwrite=True, **how)
    return folders.read(folder)


def _is_begun(folder: Path, runner: ChunkRunner) -> bool:
    """Return whether the folder holds this sweep, finished or not."""
    try:
        folders.refuse_another(in_work(folder, folders.SWEEP_FOLDER), runner)
    except ValueError:
        return False
    return True


def read_finished(folder: Path, runner: ChunkRunner) -> pd.DataFrame | None:
    """Return the records of a sweep, or None if it has not finished.

    Raises
    ------
    ValueError
        If the folder holds another sweep, or a damaged part of this one.
    """
    if not (folder / folders.ASKED).exists():
        return None
    folders.refuse_another(folder, runner)
    return None if folders.missing(folder, runner.chunks, runner.schema) else folders.read(folder)


def provenance(inputs: Inputs, runs: int) -> Table:
    """Return the table of versions and sources that ends a report."""
    drawn = datetime.now(UTC).isoformat(timespec="seconds")
    rows = [
        ["lapsd", version("lapsd")],
        ["drawn", drawn],
        ["simulated runs", f"{runs:,}"],
        ["trace", inputs.trace_name],
        ["profile", inputs.profile_name],
    ]
    for name, known in (("trace", inputs.trace.provenance), ("profile", inputs.profile.provenance)):
        rows += [[f"{name}: {key}", text] for key, text in known.facts.items()]
    return Table(["", ""], rows)
