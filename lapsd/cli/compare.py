"""The verb `compare`: serve the same workloads under several policies."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import (
    FIGURES,
    AsJson,
    DraftPolicies,
    Engine,
    Overwrite,
    check_different,
    check_file,
    crossed,
    verb,
)
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.tables.comparison import comparison_table, notes, slowdown_table, versus_table
from lapsd.cli.terminal import console, watch
from lapsd.policies import POLICIES, parse_policy, spec_of
from lapsd.sim.engine import check_engine
from lapsd.sim.experiment.comparison import SEEDS, Comparison, compare_on, default_policies
from lapsd.sim.experiment.no_effect import refuse_without_effect
from lapsd.sim.experiment.perfetto import write_chrome_trace
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.results import COMPARISON, FIGURE, save_figure, write_comparison
from lapsd.sim.figures.saving import save
from lapsd.traces.files import replacing

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
    draft_policy: DraftPolicies = None,
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
    if as_json:
        refuse_ignored("with --json", "versus")
    chosen = policy or (["fcfs"] if draft_policy else None)
    policies = default_policies()
    if chosen:
        policies = [parse_policy(spec) for spec in crossed(chosen, draft_policy)]
    specs = [spec_of(p) for p in policies]
    if versus is not None and versus not in specs:
        raise ValueError(f"--versus {versus}: not among the policies compared ({', '.join(specs)})")
    check_engine(engine)
    if engine == "compiled" and (timeline or gantt):
        raise ValueError("--engine compiled: records no timeline; not with --timeline or --gantt")
    inputs = [scenario.get(name) for name in ("trace", "profile", "arrivals")]
    for option, path, endings in (
        ("--plot", plot, FIGURES),
        ("--gantt", gantt, FIGURES),
        ("--timeline", timeline, (".json",)),
    ):
        check_file(option, path, endings, overwrite=overwrite, inputs=inputs)
    check_different({"--plot": plot, "--gantt": gantt, "--timeline": timeline}, out, COMPARISON)
    prepared = PreparedScenario.of(**scenario)
    refuse_without_effect([prepared], policies)
    with ExitStack() as stack:
        folder = None
        if out is not None:
            folder = stack.enter_context(replacing(out, COMPARISON, overwrite=overwrite))
        shown = stack.enter_context(watch(quiet=as_json))
        result = compare_on(
            prepared,
            policies,
            seeds=seeds,
            timeline=bool(timeline or gantt),
            engine=engine,
            progress=lambda done, total: shown("comparing", done, total),
        )
        if folder is not None:
            write_comparison(result, folder)
    _print(result, versus, as_json=as_json)
    # last, so that a figure that fails loses neither records nor tables
    if timeline is not None:
        write_chrome_trace(result.timelines, timeline)
    if out is not None:
        save_figure(result, out / FIGURE)
    if plot is not None:
        save_figure(result, plot)
    if gantt is not None:
        save(result.plot_schedules(), gantt)
    if as_json:
        return
    for path, what in (
        (plot, "figure"),
        (timeline, "timeline"),
        (gantt, "schedules"),
        (out, "results"),
    ):
        if path is not None:
            console().print(f"{what}: {escape(str(path))}", highlight=False, soft_wrap=True)


def _print(result: Comparison, versus: str | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.records, indent=2, allow_nan=False))
        return
    stdout = console()
    for table in (comparison_table(result), slowdown_table(result)):
        stdout.print(table, "")
    for line in notes(result):
        stdout.print(escape(line), style="dim", highlight=False)
    if versus:
        stdout.print(versus_table(result, versus))
