"""The command `lapsd bench`: the speed of the simulator on this machine."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lapsd.cli.options import AsJson, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.tables.bench import bench_table
from lapsd.cli.terminal import console
from lapsd.sim.bench import bench as measure
from lapsd.traces import load_profile, load_trace

app = verb()


@app.command()
@with_scenario(only=("trace", "profile"))
def bench(
    scenario: Mapping[str, Any],
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Shorten the largest runs to a hundredth, for a first look."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Time the simulator on this machine, relative to bare SimPy timeouts in the same process."""
    files = {"trace": "reference", "profile": "reference"} | dict(scenario)
    trace, profile = load_trace(files["trace"]), load_profile(files["profile"])
    with console(stderr=True).status("timing", spinner="line") as status:
        figures = measure(
            trace, profile, quick=quick, progress=lambda what: status.update(f"timing: {what}")
        )
    if as_json:
        print(json.dumps(figures, indent=2, allow_nan=False))
    else:
        console().print(bench_table(figures))
