"""The verb `show`: the content of a trace, a profile or a sweep."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import FIGURES, Overwrite, check_file, verb
from lapsd.cli.speculation import SpeculationAnswer
from lapsd.cli.tables.profile import profile_tables
from lapsd.cli.tables.speculation import speculation_table
from lapsd.cli.tables.sweep import sweep_table
from lapsd.cli.tables.trace import MOST_DATASETS, trace_tables
from lapsd.cli.terminal import console
from lapsd.cli.timings import has_timings, read_timings
from lapsd.policies import LapsSD
from lapsd.sim.experiment.stability import stable_requests
from lapsd.sim.figures.acceptance import plot_trace
from lapsd.sim.figures.costs import plot_profile
from lapsd.sim.figures.saving import save
from lapsd.sim.sweeps import read_sweep
from lapsd.sim.sweeps.summary import only, plot_heat_map, plot_sweep, varying
from lapsd.traces import describe, load_profile, load_trace, reliability
from lapsd.traces.files import BUNDLED, BUNDLED_PROFILES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

app = verb()
OF_SWEEPS = ("x", "y", "hue", "value", "where")


@app.command()
def show(
    path: Annotated[
        str, typer.Argument(help="A trace, a profile or a sweep ('reference': the bundled trace).")
    ],
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print the whole provenance of a trace or a profile.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw a trace's acceptance, a sweep, a profile's fit where its timings are in the"
            " same folder, or else when speculation pays on it, into this file."
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            help="Print, and with --plot draw, when speculation pays on a profile with the"
            " acceptance of this trace [default of --plot: 'reference', the bundled one]."
        ),
    ] = None,
    x: Annotated[
        str | None, typer.Option("--x", help="Parameter on the x axis of a sweep.")
    ] = None,
    y: Annotated[
        str, typer.Option("--y", help="Metric on the y axis; with --value a second parameter.")
    ] = "mean_latency_s",
    hue: Annotated[str | None, typer.Option(help="Parameter with one line per value.")] = None,
    value: Annotated[
        str | None, typer.Option(help="Metric of a heat map over --x and --y.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only records with NAME=VALUE; repeat for more.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print the content of a trace, a profile or a sweep."""
    check_file("--plot", plot, FIGURES, overwrite=overwrite, inputs=(path, trace))
    if not Path(path).exists() and (path == "reference.json" or path in BUNDLED_PROFILES[1:]):
        path = str(BUNDLED / f"{path.removesuffix('.json')}.json")
    draw = plot is not None
    if trace is not None and Path(path).suffix != ".json":
        raise ValueError(f"--trace {trace}: belongs to a profile, and {path} is none")
    if Path(path).is_dir():
        refuse_ignored("on a sweep", "verbose")
        if not draw:
            refuse_ignored("without --plot", "x", "hue")
        if value is not None:
            refuse_ignored("with --value", "hue", *(() if draw else ("y",)))
        figure = _show_sweep(Path(path), draw, where or [], x, y, hue, value)
    elif Path(path).suffix == ".json":
        refuse_ignored("on a profile", *OF_SWEEPS)
        figure = _show_profile(path, draw, verbose, trace)
    else:
        refuse_ignored("on a trace", *OF_SWEEPS)
        figure = _show_trace(path, draw, verbose)
    if plot is not None and figure is not None:
        save(figure, plot)
        print(f"{plot}: drawn")


def _show_trace(path: str, draw: bool, verbose: bool) -> "Figure | None":
    trace, stdout = load_trace(path), console()
    for table in trace_tables(trace, verbose=verbose):
        stdout.print(table, "")
    if not draw:
        return None
    policy = LapsSD()
    test = f"γ = {policy.gamma}, δ = {policy.delta:g}"
    title = f"{trace.provenance.source or 'a trace'}: {len(trace)} requests"
    stable = stable_requests(trace, policy)
    return plot_trace(describe(trace, MOST_DATASETS), stable, test, title, reliability(trace))


def _show_profile(path: str, draw: bool, verbose: bool, trace: str | None) -> "Figure | None":
    profile, stdout = load_profile(path), console()
    timings = None
    if draw and trace is None and has_timings(Path(path)):
        timings = read_timings(profile, Path(path))  # before anything is printed: may be refused
    answer = None
    if trace is not None or (draw and timings is None):
        name = trace or "reference"
        answer = SpeculationAnswer.of(profile, load_trace(name), name)
    for table in profile_tables(profile, verbose=verbose):
        stdout.print(table, "")
    for warning in profile.warnings():
        print(f"warning: {path}: {warning}", file=sys.stderr)
    if answer is None:
        return None if timings is None else plot_profile(profile, *timings)
    stdout.print(speculation_table(answer.pays, answer.batches), "")
    stdout.print(f"{answer.verdict}.\n{answer.caption}\n", markup=False, highlight=False)
    return answer.draw() if draw else None


def _show_sweep(
    folder: Path,
    draw: bool,
    where: list[str],
    x: str | None,
    y: str,
    hue: str | None,
    value: str | None,
) -> "Figure | None":
    _refuse_other_results(folder)
    records = only(read_sweep(folder), where)
    console().print(sweep_table(records, value or y, varying(records)))
    if not draw:
        return None
    if x is None:
        raise ValueError(
            "--plot of a sweep needs --x; varied parameters:"
            f" {', '.join(varying(records)) or 'nothing'}"
        )
    return plot_heat_map(records, x, y, value) if value else plot_sweep(records, x, y, hue)


OTHER_RESULTS = (
    # what a folder holds, the file that marks it, and the file that makes it whole
    ("reproduction", "_reproduction.json", "report.html"),
    ("validation", "_runs", "requests.parquet"),
    ("comparison", "_table.json", "requests.parquet"),
)


def _refuse_other_results(folder: Path) -> None:
    """Refuse a folder with a result that is no sweep, and say what it holds."""
    for what, mark, whole in OTHER_RESULTS:
        if (folder / mark).exists():
            state = "" if (folder / whole).exists() else ", unfinished: resume it"
            raise ValueError(f"{folder} is no sweep: it holds a {what}{state}")
