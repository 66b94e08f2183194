"""The verb `reproduce`: the figures and claims of a paper, from measured data."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import Engine, Overwrite, Workers, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.terminal import watch
from lapsd.papers.papers import paper_of
from lapsd.papers.reproduction import reproduce as run
from lapsd.sim.sweeps.workers import check_workers
from lapsd.traces.errors import DONE, INCOMPLETE

app = verb()


@app.command()
@with_scenario(only=("trace", "profile"))
def reproduce(
    scenario: Mapping[str, Any],
    out: Annotated[
        Path, typer.Option(help="The folder for figures, claims.md, report.html and all runs.")
    ],
    paper: Annotated[
        str,
        typer.Argument(help="laps-sd, alise, beyond (kernel-gittins), draft-length, or routing."),
    ] = "laps-sd",
    arrivals: Annotated[
        list[str] | None,
        typer.Option(
            help="A file of recorded arrivals, as lapsd import azure and mooncake write, for"
            " routing; may be repeated."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few seeds and coarse maps, for a first look.")
    ] = False,
    workers: Workers = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted reproduction.")
    ] = False,
    draw_only: Annotated[
        bool,
        typer.Option(
            "--draw-only", help="Draw again from existing runs, without running anything."
        ),
    ] = False,
    overwrite: Overwrite = False,
    engine: Engine = "auto",
) -> int:
    """Draw every figure of a paper from measured data and judge its claims."""
    check_workers(workers)
    if overwrite and (resume or draw_only):
        raise ValueError("--overwrite: replaces everything; not with --resume or --draw-only")
    if draw_only:
        refuse_ignored("with --draw-only", "workers", "engine")
    chosen = paper_of(paper).with_arrivals(arrivals or ())
    with watch() as shown:
        missing = run(
            out,
            **scenario,
            paper=chosen,
            size=chosen.quick if quick else chosen.full,
            workers=workers,
            overwrite=overwrite,
            resume=resume,
            draw_only=draw_only,
            engine=engine,
            progress=shown,
        )
    for file in ("claims.md", "report.html"):
        print(escape(str(out / file)))
    for line in missing:
        print(f"lapsd: left out: {' '.join(line.split())}", file=sys.stderr)
    return INCOMPLETE if missing else DONE
