"""The command `lapsd sweep`: run every combination of policies, parameters, settings and seeds."""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import DraftPolicies, Engine, Overwrite, Workers, crossed, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.terminal import console, watch
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.sweeps import folders
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.execution import finish, start
from lapsd.sim.sweeps.grid import Sweep
from lapsd.sim.sweeps.workers import check_workers, connect

ASK_BEYOND = 1_000_000
MAX_SEEDS = 3_200
RUNNING = "running"
EPILOG = (
    "VALUES are a value, a list, a range low:high[:step] that includes both ends, or a mix. Every"
    " parameter of a policy is an option too: --K 2:8 --gamma 3,5,8."
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
            "--from",
            help="A TOML file with a sweep, such as _sweep.toml in a folder of results; options"
            " replace its values.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.")] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Repeat for several [default: fcfs and laps-sd].")
    ] = None,
    draft_policy: DraftPolicies = None,
    seeds: Annotated[
        int | None, typer.Option(help="Workloads of each scenario [default: 20].")
    ] = None,
    first_seed: Annotated[int | None, typer.Option(help="The first seed [default: 0].")] = None,
    until_ci: Annotated[
        str | None,
        typer.Option(
            help=(
                "Stop a scenario when all differences to the baseline are known to within this"
                " share of the baseline, such as 2%."
            )
        ),
    ] = None,
    max_seeds: Annotated[
        int | None, typer.Option(help="Largest number of seeds with --until-ci [default: 3200].")
    ] = None,
    workers: Workers = None,
    dask: Annotated[
        str | None,
        typer.Option(help="Run on the Dask cluster of this scheduler, such as tcp://host:8786."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Run what is missing in the folder of a stopped sweep.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before a large number of runs.")
    ] = False,
    overwrite: Overwrite = False,
    engine: Engine = "auto",
) -> None:
    """Run every combination of policies, parameters, settings and seeds into a folder of Parquet
    files.
    """
    check_workers(workers)
    if dask is not None:
        refuse_ignored("with --dask", "workers")
    if resume is not None:
        refuse_ignored("with --resume", "overwrite")
    if max_seeds is not None and until_ci is None:
        raise ValueError(f"--max-seeds {max_seeds}: needs --until-ci; without it, use --seeds")
    if max_seeds is not None and max_seeds < 1:
        raise ValueError(f"--max-seeds {max_seeds}: must be at least 1")
    if until_ci is not None and seeds is not None:
        raise ValueError("--seeds with --until-ci: use --max-seeds instead")
    settings, parameters = _tables(scenario, context.args)
    given = {
        "policies": crossed(policy or ["fcfs"], draft_policy) if policy or draft_policy else None,
        "first_seed": first_seed,
        "until_ci": until_ci,
        "seeds": seeds if until_ci is None else MAX_SEEDS if max_seeds is None else max_seeds,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if resume is not None:
        if options or settings or parameters or file or out:
            raise ValueError(
                "--resume reads the sweep from the folder: give no other options of it"
            )
        folder, wanted = resume, folders.read_sweep_asked(resume)
    else:
        if out is None:
            raise ValueError("--out FOLDER or --resume FOLDER is needed")
        options |= {"parameters": parameters, "settings": settings}
        base = Sweep.from_toml(file) if file else None
        folder, wanted = out, Sweep.from_document(options, base=base)
    runner, stderr = ChunkRunner.load(wanted, engine=engine), console(stderr=True)
    if resume is None:
        runner.refuse_without_effect()
    if not yes:
        _ask(runner)
    client = connect(dask) if dask else None
    number = sum(client.nthreads().values()) if client else workers or os.cpu_count()  # type: ignore[no-untyped-call]
    begins = [_number_of_runs(runner), f"{number} workers{f' at {dask}' if dask else ''}"]
    run = finish if resume is not None else partial(start, overwrite=overwrite)
    try:
        with watch() as shown:

            def progress(done: int, total: int) -> None:
                while begins:  # once nothing can be refused any more
                    stderr.print(begins.pop(0), highlight=False)
                shown(RUNNING, done, total)

            run(folder, runner, workers=workers, client=client, progress=progress)
            new, took = shown.since_begun(RUNNING)
    finally:
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]
    stderr.print(
        f"{new:,} runs in {took:,.1f} s, {new / max(took, 1e-9):,.0f} runs/s", highlight=False
    )
    if wanted.until_ci:
        _print_stopped(folder, wanted.until_ci, stderr)
    stderr.print(f"results: {escape(str(folder))}", highlight=False, soft_wrap=True)


def _tables(
    scenario: Mapping[str, list[str]], extra: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the settings and the policy parameters that the command line gives, by name.

    `extra` holds the words of the command line that are no options of this command.
    """
    settings, parameters = dict(scenario), dict[str, list[str]]()
    words = list(extra)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise ValueError(
                f"{word!r}: must be --NAME VALUES, as in --K 2:8; a TOML file needs --from FILE"
            )
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not words or words[0].startswith("--"):
                raise ValueError(f"--{name}: needs a value, a list or a range")
            value = words.pop(0)
        key = name.replace("-", "_")
        # a setting may be spelled with underscores
        table = settings if key in SCENARIO_FIELDS else parameters
        if key in table:
            raise ValueError(f"--{name} is given twice: write its values as one list")
        table[key] = [value]
    return settings, parameters


def _number_of_runs(runner: ChunkRunner) -> str:
    most = "at most " if runner.sweep.until_ci else ""
    return (
        f"{most}{_runs(runner):,} runs: {len(runner.policies):,} configurations of policies,"
        f" {len(runner.scenarios):,} scenarios, {runner.sweep.seeds:,} seeds"
    )


def _ask(runner: ChunkRunner) -> None:
    """Ask before a large number of runs."""
    if (runs := _runs(runner)) > ASK_BEYOND and not (
        sys.stdin.isatty() and typer.confirm(f"Do all {runs:,} runs?", err=True)
    ):
        raise ValueError(f"{runs:,} runs are more than {ASK_BEYOND:,}: give --yes to run them")


def _runs(runner: ChunkRunner) -> int:
    return sum(chunk.runs for chunk in runner.chunks)


def _print_stopped(folder: Path, until_ci: float, stderr: Console) -> None:
    looks = folders.read_looks(folder)
    stopped = [entry["seeds"] for entry in looks if entry["stopped"]]
    stderr.print(
        f"{len(stopped)} of {len(looks)} scenarios are known to within {until_ci:.2%}"
        + (f", after {min(stopped)} to {max(stopped)} seeds" if stopped else ""),
        highlight=False,
    )
