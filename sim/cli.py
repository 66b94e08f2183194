"""The command line: a thin skin over the library's functions.

`lapsd calibrate` lives in `calibrate.cli` and is loaded only when asked for, so that everything else works
without torch.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from policies import POLICIES, Policy, parse_policy
from sim import import_cli
from sim.reproduce import cli as reproduce_cli
from sim.sweeps import cli as sweep_cli
from traces import load_arrivals, load_profile, load_trace
from traces.errors import BAD_INPUT, run_command
from traces.trace_file import BUNDLED

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

app = typer.Typer(
    help="Calibrate speculative decoding on real models, then simulate how a scheduler would serve it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
FIGURES = (".png", ".pdf", ".svg")
app.add_typer(import_cli.importer, name="import")

WIDTH = 150  # of tables that go to a file or a pipe

TraceOption = Annotated[str, typer.Option("--trace", help="A trace file, or 'reference' for the bundled one.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="A profile file, or 'reference' for the bundled one.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


@app.command()
def compare(
    trace: TraceOption = "reference",
    profile: ProfileOption = "reference",
    policy: Annotated[
        list[str] | None,
        typer.Option(help=f"Repeat for several: {', '.join(POLICIES)}, with parameters as in laps-sd:K=4,delta=0.1."),
    ] = None,
    requests: Annotated[int, typer.Option(help="Requests in a workload.")] = 30,
    load: Annotated[float | None, typer.Option(help="Arriving work per unit of time [default: 0.8].")] = None,
    rate: Annotated[float | None, typer.Option(help="Arrivals per second, instead of a load.")] = None,
    all_at_once: Annotated[bool, typer.Option("--all-at-once", help="All requests arrive at time 0.")] = False,
    cv: Annotated[float, typer.Option(help="Of gaps between arrivals: Gamma gaps; 1: a Poisson process.")] = 1.0,
    arrivals: Annotated[
        Path | None, typer.Option(help="Recorded arrivals (lapsd import azure or mooncake), rescaled to the load.")
    ] = None,
    clients: Annotated[int | None, typer.Option(help="A closed loop of so many clients, instead of a load.")] = None,
    think: Annotated[float, typer.Option(help="Seconds from an answer to a client's next request.")] = 0.0,
    seeds: Annotated[int, typer.Option(help="Workloads: seeds 0, 1, ...")] = 20,
    length_predictor: Annotated[
        str,
        typer.Option(
            help="oracle, noisy:SD (log-normal error), regressed:R (shrunk to the mean) or learned (by the trace)."
        ),
    ] = "oracle",
    batch: Annotated[int, typer.Option(help="Requests that run a round together.")] = 1,
    kv_slots: Annotated[
        int | None,
        typer.Option(help="Requests whose KV caches fit in memory; 0: all [default: 1, or all in batches]."),
    ] = None,
    kv_tokens: Annotated[int | None, typer.Option(help="Tokens whose keys and values fit in memory.")] = None,
    evict: Annotated[str, typer.Option(help="A cache that must go: swap it out, or recompute it later.")] = "swap",
    swap: Annotated[str | None, typer.Option(help="Another way of moving caches that the profile has.")] = None,
    swap_scale: Annotated[float, typer.Option(help="Makes every move so many times as long.")] = 1.0,
    prefill: Annotated[str, typer.Option(help="Prompts of one decision: alone (in turn) or batched.")] = "alone",
    dataset: Annotated[
        str | None, typer.Option(help="Only this data set of the trace, or a mix: code=0.7+prose=0.3.")
    ] = None,
    draft_tokens: Annotated[
        int | None, typer.Option(help="Replay the trace at another draft length, if it holds what that needs.")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Of the split into training and test half.")] = 0,
    versus: Annotated[
        str | None, typer.Option(help="Also print this policy's mean latency against every other's, in percent.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw mean latency per policy into this file.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Write the first seed's runs as a Chrome trace (.json) for ui.perfetto.dev.")
    ] = None,
    gantt: Annotated[
        Path | None, typer.Option(help="Draw when the first requests of the first seed waited and ran.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write every request's times, the table and the figure.")] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one list of records instead of the table.")] = False,
) -> None:
    """Serve the same random workloads under several policies and compare their latency."""
    from sim.comparison import compare as run
    from sim.results import claim_folder, save_figure, write_comparison
    from traces.files import write_whole

    chosen = None if not policy else [parse_policy(spec) for spec in policy]
    if kv_slots is not None and kv_slots < 0:
        raise ValueError(f"--kv-slots {kv_slots}: must be at least 0")
    slots = (1 if batch == 1 else None) if kv_slots is None else kv_slots or None
    for option, file, endings in (("--plot", plot, FIGURES), ("--gantt", gantt, FIGURES),
                                  ("--timeline", timeline, (".json",))):  # fmt: skip
        if file is not None:
            _check_file(option, file, endings)
    loaded, costs = load_trace(trace), load_profile(profile)
    recorded = load_arrivals(arrivals) if arrivals is not None else None
    _check_versus(versus, chosen)
    if out is not None:
        claim_folder(out, overwrite=overwrite)
    with _progress("comparing", as_json) as progress:
        task = progress.add_task("comparing", total=None)
        result = run(
            loaded, costs, chosen, requests=requests, load=load, rate_per_s=rate, all_at_once=all_at_once,
            cv=cv, arrivals=recorded, clients=clients, think_s=think, seeds=seeds, dataset=dataset,
            length_predictor=length_predictor, kv_slots=slots, split_seed=split_seed, draft_tokens=draft_tokens,
            batch=batch, kv_tokens=kv_tokens, evict=evict,
            prefill=prefill, swap=swap, swap_scale=swap_scale, timeline=bool(timeline or gantt),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    if out is not None:
        write_comparison(result, out)
    if plot is not None:
        write_whole(plot, lambda p: save_figure(result, p))
    if timeline is not None:
        from sim.perfetto import write_chrome_trace

        write_chrome_trace(result.timelines, timeline)
    if gantt is not None:
        write_whole(gantt, lambda p: result.plot_schedules().savefig(p, dpi=160))
    if as_json:
        print(json.dumps(result.records, indent=2, allow_nan=False))
        return
    from sim.tables import comparison_table, notes, versus_table

    console = _console()
    console.print(comparison_table(result))
    for line in notes(result):
        console.print(escape(line), style="dim", highlight=False)
    if versus:
        console.print(versus_table(result, versus))
    for path, what in ((plot, "figure"), (timeline, "timeline"), (gantt, "schedules"), (out, "results")):
        if path is not None:
            console.print(f"{what}: {escape(str(path))}", highlight=False, soft_wrap=True)


def _check_versus(versus: str | None, chosen: list[Policy] | None) -> None:
    from policies import spec_of
    from sim.comparison import default_policies

    specs = [spec_of(p) for p in (chosen or default_policies())]
    if versus is not None and versus not in specs:
        raise ValueError(f"--versus {versus}: not among the policies compared ({', '.join(specs)})")


def _check_file(option: str, path: Path, endings: Sequence[str]) -> None:
    if path.suffix not in endings:
        wanted = endings[0] if len(endings) == 1 else f"one of {', '.join(endings)}"
        raise ValueError(f"{option} {path}: the file's ending must be {wanted}")
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}")


def _progress(what: str, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)


@app.command()
def show(
    path: Annotated[str, typer.Argument(help="A trace, a profile or a sweep ('reference': the bundled trace).")],
    plot: Annotated[
        Path | None, typer.Option(help="Draw a trace's acceptance, a profile's fit, or a sweep, to this file.")
    ] = None,
    x: Annotated[str | None, typer.Option("--x", help="Of a sweep: the parameter along the axis.")] = None,
    y: Annotated[str, typer.Option("--y", help="A metric, or with --value a second parameter.")] = "mean_latency_s",
    hue: Annotated[str | None, typer.Option(help="A parameter, a line each value.")] = None,
    value: Annotated[str | None, typer.Option(help="A metric, as a heat map over --x and --y.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Only records with NAME=VALUE; repeat for more.")] = None,
) -> None:
    """Print what a trace, a profile or a sweep holds."""
    from traces.files import write_whole

    if plot is not None:
        _check_file("--plot", plot, FIGURES)
    path = str(BUNDLED / path) if path == "reference.json" and not Path(path).exists() else path
    if Path(path).is_dir():
        figure = _show_sweep(Path(path), plot is not None, where or [], x, y, hue, value)
    elif Path(path).suffix == ".json":
        figure = _show_profile(path, plot is not None)
    else:
        figure = _show_trace(path, plot is not None)
    if plot is not None and figure is not None:
        write_whole(plot, lambda p: figure.savefig(p, dpi=160, format=plot.suffix[1:]))
        print(f"{plot}: drawn")


def _show_trace(path: str, draw: bool) -> "MatplotlibFigure | None":
    from sim.tables import trace_tables

    trace, console = load_trace(path), _console()
    for table in trace_tables(trace):
        console.print(table, "")
    if not draw:
        return None
    from policies import LapsSD
    from sim.figures.acceptance import plot_trace
    from sim.stability import stable_requests
    from traces.describe import describe

    policy = LapsSD()
    test = f"γ = {policy.gamma}, δ = {policy.delta:g}"
    title = f"{trace.metadata.get('source', 'a trace')}: {len(trace)} requests"
    return plot_trace(describe(trace), stable_requests(trace, policy), test, title)


def _show_profile(path: str, draw: bool) -> "MatplotlibFigure | None":
    from sim.tables import profile_tables, profile_warnings

    console, profile = _console(), load_profile(path)
    for table in profile_tables(profile):
        console.print(table, "")
    for warning in profile_warnings(profile):
        print(f"warning: {path}: {warning}", file=sys.stderr)
    if not draw:
        return None
    from sim.figures.costs import plot_profile
    from sim.timings import read_timings

    return plot_profile(profile, *read_timings(profile, Path(path)))


def _show_sweep(
    folder: Path, draw: bool, where: list[str], x: str | None, y: str, hue: str | None, value: str | None
) -> "MatplotlibFigure | None":
    from sim.sweeps.parts import read
    from sim.sweeps.summary import only, plot_heat_map, plot_sweep, varying
    from sim.tables import sweep_table

    records = only(read(folder), where)
    _console().print(sweep_table(records, value or y, varying(records)))
    if not draw:
        return None
    if x is None:
        raise ValueError(f"--plot of a sweep needs --x: what varies is {', '.join(varying(records)) or 'nothing'}")
    return plot_heat_map(records, x, y, value) if value else plot_sweep(records, x, y, hue)


@app.command()
def bench(
    trace: TraceOption = "reference",
    profile: ProfileOption = "reference",
    quick: Annotated[
        bool, typer.Option("--quick", help="A hundredth of the largest runs: a first look only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object instead of the table.")] = False,
) -> None:
    """Time the simulator on this machine, in ratios to bare SimPy timeouts of the same process."""
    from sim.bench import bench as run
    from sim.tables import bench_table

    loaded, costs = load_trace(trace), load_profile(profile)
    console = Console(stderr=True)
    with console.status("timing") as status:
        found = run(loaded, costs, quick=quick, progress=lambda what: status.update(f"timing: {what}"))
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        _console().print(bench_table(found))


app.command(context_settings=sweep_cli.ANY_OPTION, epilog=sweep_cli.EPILOG)(sweep_cli.sweep)
app.command()(sweep_cli.best)
app.command()(import_cli.generate)
app.command()(reproduce_cli.reproduce)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def calibrate(context: typer.Context) -> int:
    """Run a real model pair and record what it accepts and costs (needs the extra 'calibrate')."""
    try:
        from calibrate.cli import main as calibrate_main
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "transformers", "tokenizers", "safetensors"):
            raise
        print(f"lapsd calibrate: needs {error.name}: pip install 'lapsd[calibrate]'", file=sys.stderr)
        return BAD_INPUT
    return int(calibrate_main(context.args))


def main() -> None:
    """The console command `lapsd`."""
    sys.exit(run_command("lapsd", lambda: app(standalone_mode=False)))


if __name__ == "__main__":
    main()
