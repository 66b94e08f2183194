"""The command `lapsd best`: the best configurations of a sweep."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lapsd.cli.options import AsJson, verb
from lapsd.cli.tables.sweep import best_tables
from lapsd.cli.terminal import console
from lapsd.sim.sweeps import best as find, read_sweep

app = verb()


@app.command()
def best(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep.")],
    by: Annotated[str, typer.Option(help="Settings to group by, such as requests,dataset.")] = "",
    metric: Annotated[str, typer.Option(help="Metric to minimize.")] = "mean_latency_s",
    as_json: AsJson = False,
) -> None:
    """Print the configurations that are not significantly worse than the best one.

    Half of the seeds select the best configuration; the metric is measured on the others.
    """
    verdicts = find(read_sweep(folder), [name for name in by.split(",") if name], metric)
    if as_json:
        print(json.dumps([v.record for v in verdicts], indent=2, allow_nan=False))
        return
    stdout = console()
    for part in best_tables(verdicts):
        stdout.print(part)
