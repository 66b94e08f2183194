"""The verb `reproduce`: a thin skin over `sim.reproduce`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from traces.errors import DONE, INCOMPLETE


def reproduce(
    out: Annotated[Path, typer.Option(help="The folder for figures, claims.md, report.html and all runs.")],
    paper: Annotated[str, typer.Option(help="Which paper.")] = "laps-sd",
    trace: Annotated[str, typer.Option(help="A trace file, or 'reference' for the bundled one.")] = "reference",
    profile: Annotated[str, typer.Option(help="A profile file, or 'reference' for the bundled one.")] = "reference",
    quick: Annotated[bool, typer.Option("--quick", help="Few seeds and a coarse map: a first look.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes [default: one a core].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped one; what was run stays.")] = False,
    draw_only: Annotated[
        bool, typer.Option("--draw-only", help="Run nothing: draw again from the runs that are there.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the reproduction that is there.")] = False,
) -> int:
    """Draw every figure of a paper from measured data, judge its claims, and ask what it leaves open."""
    from sim.reproduce.papers import paper_of
    from sim.reproduce.run import reproduce as run

    if workers is not None and workers < 1:
        raise ValueError(f"--workers {workers}: must be at least 1")
    if overwrite and (resume or draw_only):
        raise ValueError("--overwrite: replaces everything; not with --resume or --draw-only")
    chosen, console = paper_of(paper), Console(stderr=True)
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
                if not console.is_terminal:
                    print(f"reproduce: {what}", file=sys.stderr, flush=True)
            bars.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        missing = run(
            out, paper=chosen, trace=trace, profile=profile, size=chosen.quick if quick else chosen.full,
            workers=workers, overwrite=overwrite, resume=resume, draw_only=draw_only, progress=show,
        )  # fmt: skip
    for file in ("claims.md", "report.html"):
        print(escape(str(out / file)))
    for line in missing:
        print(f"lapsd: left out: {' '.join(line.split())}", file=sys.stderr)
    return INCOMPLETE if missing else DONE
