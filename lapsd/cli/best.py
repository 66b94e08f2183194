"""The verb `best`: what is best in a sweep, and what cannot be told from it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lapsd.cli.options import AsJson, verb
from lapsd.cli.tables import best_tables
from lapsd.cli.terminal import console
from lapsd.sim.sweeps import best as find, read_sweep

app = verb()


@app.command()
def best(
    folder: Annotated[Path, typer.Argument(help="A sweep's folder.")],
    by: Annotated[
        str, typer.Option(help="Columns to find the best within, as in requests,dataset.")
    ] = "",
    metric: Annotated[str, typer.Option(help="What should be low.")] = "mean_latency_s",
    as_json: AsJson = False,
) -> None:
    """Tell which configurations are not worse than the best, selected on some seeds and reported on
    others.
    """
    verdicts = find(read_sweep(folder), [name for name in by.split(",") if name], metric)
    if as_json:
        print(json.dumps([v.record for v in verdicts], indent=2, allow_nan=False))
        return
    stdout = console()
    for part in best_tables(verdicts):
        stdout.print(part)
