"""The verb `bench`: how fast the simulator is here."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from lapsd.cli.options import AsJson, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.tables import bench_table
from lapsd.cli.terminal import console
from lapsd.sim.bench import bench as measure
from lapsd.traces import load_profile, load_trace

app = verb()


@app.command()
@with_scenario(only=("trace", "profile"))
def bench(
    scenario: Mapping[str, Any],
    quick: Annotated[
        bool, typer.Option("--quick", help="A hundredth of the largest runs: a first look only.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Time the simulator on this machine, in ratios to bare SimPy timeouts of the same process."""
    files = {"trace": "reference", "profile": "reference"} | dict(scenario)
    trace, profile = load_trace(files["trace"]), load_profile(files["profile"])
    with Console(stderr=True).status("timing") as status:
        figures = measure(
            trace, profile, quick=quick, progress=lambda what: status.update(f"timing: {what}")
        )
    if as_json:
        print(json.dumps(figures, indent=2, allow_nan=False))
    else:
        console().print(bench_table(figures))
