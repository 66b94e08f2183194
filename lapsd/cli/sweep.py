"""The verb `sweep`: every combination of policies, their parameters, settings and seeds."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from lapsd.cli.options import Overwrite, Workers, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.terminal import watch
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.sweeps import folders
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.execution import finish, prepare
from lapsd.sim.sweeps.grid import Sweep
from lapsd.sim.sweeps.workers import check_workers, connect

ASK_BEYOND = 1_000_000
MAX_SEEDS = 3_200
RUNNING = "running"
EPILOG = (
    "VALUES are a value, a list, a range low:high[:step] with both ends, or a mix. Any parameter of"
    " a policy is an option too: --K 2:8 --gamma 3,5,8."
)

app = verb()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, epilog=EPILOG
)
@with_scenario(lists=True)
def sweep(
    context: typer.Context,
    scenario: Mapping[str, list[str]],
    file: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A sweep as TOML, like the _sweep.toml of results; options add to it."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the results.")] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Repeat for several [default: fcfs and laps-sd].")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Workloads of each setting [default: 20].")
    ] = None,
    first_seed: Annotated[int | None, typer.Option(help="The first of them [default: 0].")] = None,
    until_ci: Annotated[
        str | None,
        typer.Option(
            help=(
                "Stop a setting when all differences to the baseline are known to within this, as"
                " in 2%."
            )
        ),
    ] = None,
    max_seeds: Annotated[
        int | None, typer.Option(help="The most seeds with --until-ci [default: 3200].")
    ] = None,
    workers: Workers = None,
    dask: Annotated[
        str | None, typer.Option(help="Use the Dask cluster of this scheduler, tcp://host:8786.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Do what is missing in a stopped sweep's folder.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, however many runs there are.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Run every combination of policies, parameters, settings and seeds into a folder of Parquet
    files.
    """
    check_workers(workers)
    if max_seeds is not None and until_ci is None:
        raise ValueError(
            f"--max-seeds {max_seeds}: only with --until-ci; --seeds sets how many there are"
        )
    if until_ci is not None and seeds is not None:
        raise ValueError("--seeds with --until-ci: give --max-seeds")
    settings, parameters = _tables(scenario, context.args)
    given = {
        "policies": policy or None,
        "first_seed": first_seed,
        "until_ci": until_ci,
        "seeds": seeds if until_ci is None else max_seeds or MAX_SEEDS,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if resume is not None:
        if options or settings or parameters or file or out:
            raise ValueError("--resume takes what to run from the folder: give nothing else of it")
        folder, wanted = (
            resume,
            Sweep.from_document(folders.read_asked(resume)["sweep"], str(resume)),
        )
    else:
        if out is None:
            raise ValueError("--out: a folder for the results is needed (or --resume FOLDER)")
        base = Sweep.from_toml(file).document() if file else {}
        options["parameters"] = base.get("parameters", {}) | parameters
        options["settings"] = base.get("settings", {}) | settings
        folder, wanted = out, Sweep.from_document(base | options, str(file or "sweep"))
    runner, stderr = prepare(wanted), Console(stderr=True)
    _say_how_many(runner, stderr, ask=not yes)
    client = connect(dask) if dask else None
    hands = sum(client.nthreads().values()) if client else workers or os.cpu_count()  # type: ignore[no-untyped-call]
    stderr.print(f"{hands} workers{f' at {dask}' if dask else ''}", highlight=False)
    if resume is None:
        folders.claim(folder, runner, overwrite=overwrite)
    try:
        with watch() as shown:
            finish(
                folder,
                runner,
                workers=workers,
                client=client,
                progress=lambda *at: shown(RUNNING, *at),
            )
            new, took = shown.since_begun(RUNNING)
    finally:
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]
    stderr.print(
        f"{new:,} runs in {took:,.1f} s, {new / max(took, 1e-9):,.0f} runs/s", highlight=False
    )
    if wanted.until_ci:
        _say_where_stopped(folder, wanted.until_ci, stderr)
    stderr.print(f"results: {escape(str(folder))}", highlight=False, soft_wrap=True)


def _tables(
    scenario: Mapping[str, list[str]], extra: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What the command line says of settings, and, by options that only policies know, of their
    parameters.
    """
    settings, parameters = dict(scenario), dict[str, list[str]]()
    words = list(extra)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise ValueError(
                f"{word!r}: a sweep takes --NAME VALUES, as in --K 2:8, and a file as --from FILE"
            )
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not words or words[0].startswith("--"):
                raise ValueError(f"--{name}: needs a value, a list or a range")
            value = words.pop(0)
        key = name.replace("-", "_")
        table = (
            settings if key in SCENARIO_FIELDS else parameters
        )  # with underscores a setting is an option too
        if key in table:
            raise ValueError(f"--{name} is given twice: write its values as one list")
        table[key] = [value]
    return settings, parameters


def _say_how_many(runner: ChunkRunner, stderr: Console, *, ask: bool) -> None:
    runs = sum(chunk.runs for chunk in runner.chunks)
    most = "at most " if runner.sweep.until_ci else ""
    stderr.print(
        f"{most}{runs:,} runs: {len(runner.policies):,} configurations of policies,"
        f" {len(runner.settings):,} settings, {runner.sweep.seeds:,} seeds",
        highlight=False,
    )
    if (
        runs > ASK_BEYOND
        and ask
        and not (sys.stdin.isatty() and typer.confirm("Run them all?", err=True))
    ):
        raise ValueError(f"{runs:,} runs are more than {ASK_BEYOND:,}: give --yes to run them")


def _say_where_stopped(folder: Path, until_ci: float, stderr: Console) -> None:
    looks = json.loads((folder / folders.LOOKS).read_text(encoding="utf-8"))
    stopped = [entry["seeds"] for entry in looks if entry["stopped"]]
    stderr.print(
        f"{len(stopped)} of {len(looks)} settings are known to within {until_ci:.2%}"
        + (f", after {min(stopped)} to {max(stopped)} seeds" if stopped else ""),
        highlight=False,
    )
