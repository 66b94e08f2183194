"""The verb `compare`: serve the same workloads under several policies."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from lapsd.cli import tables
from lapsd.cli.options import FIGURES, AsJson, Engine, Overwrite, check_file, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.terminal import console, watch
from lapsd.policies import POLICIES, parse_policy, spec_of
from lapsd.sim.engine import check_engine
from lapsd.sim.experiment.comparison import SEEDS, compare_on, default_policies
from lapsd.sim.experiment.perfetto import write_chrome_trace
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.results import claim_results, save_figure, write_comparison
from lapsd.traces.files import write_whole

app = verb()


@app.command()
@with_scenario()
def compare(
    scenario: Mapping[str, Any],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                f"Repeat for several: {', '.join(POLICIES)}, with parameters as in"
                " laps-sd:K=4,delta=0.1."
            )
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Workloads: seeds 0, 1, ...")] = SEEDS,
    versus: Annotated[
        str | None,
        typer.Option(
            help="Also print this policy's mean latency relative to every other, in percent."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw mean latency per policy into this file.")
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(
            help="Write the first seed's runs as a Chrome trace (.json) for ui.perfetto.dev."
        ),
    ] = None,
    gantt: Annotated[
        Path | None,
        typer.Option(help="Draw when the first requests of the first seed waited and ran."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the times of every request, the table and the figure into this folder."
        ),
    ] = None,
    overwrite: Overwrite = False,
    engine: Engine = "auto",
    as_json: AsJson = False,
) -> None:
    """Serve the same random workloads under several policies and compare their latency."""
    policies = [parse_policy(spec) for spec in policy] if policy else default_policies()
    specs = [spec_of(p) for p in policies]
    if versus is not None and versus not in specs:
        raise ValueError(f"--versus {versus}: not among the policies compared ({', '.join(specs)})")
    check_engine(engine)
    if engine == "compiled" and (timeline or gantt):
        raise ValueError("--engine compiled: records no timeline; not with --timeline or --gantt")
    check_file("--plot", plot, FIGURES)
    check_file("--gantt", gantt, FIGURES)
    check_file("--timeline", timeline, (".json",))
    prepared = PreparedScenario.of(**scenario)
    if out is not None:
        claim_results(out, overwrite=overwrite)
    with watch(quiet=as_json) as shown:
        result = compare_on(
            prepared,
            policies,
            seeds=seeds,
            timeline=bool(timeline or gantt),
            engine=engine,
            progress=lambda done, total: shown("comparing", done, total),
        )
    if out is not None:
        write_comparison(result, out)
    if plot is not None:
        write_whole(plot, lambda p: save_figure(result, p))
    if timeline is not None:
        write_chrome_trace(result.timelines, timeline)
    if gantt is not None:
        write_whole(gantt, lambda p: result.plot_schedules().savefig(p, dpi=160))
    if as_json:
        print(json.dumps(result.records, indent=2, allow_nan=False))
        return
    stdout = console()
    for table in (tables.comparison_table(result), tables.slowdown_table(result)):
        stdout.print(table, "")
    for line in tables.notes(result):
        stdout.print(escape(line), style="dim", highlight=False)
    if versus:
        stdout.print(tables.versus_table(result, versus))
    for path, what in (
        (plot, "figure"),
        (timeline, "timeline"),
        (gantt, "schedules"),
        (out, "results"),
    ):
        if path is not None:
            stdout.print(f"{what}: {escape(str(path))}", highlight=False, soft_wrap=True)
