"""The verbs `sweep` and `best`: a thin skin over `sim.sweeps`."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

ASK_BEYOND = 1_000_000
MAX_SEEDS = 3_200
ANY_OPTION = {"allow_extra_args": True, "ignore_unknown_options": True}
EPILOG = (
    "Any parameter of a policy (--K 2:8, --gamma 3,5,8) and any setting (--requests 10,30 --load 0.5,0.8 --dataset "
    "code,prose --length-predictor noisy:0.5 --batch 1,8 --trace FILE --profile FILE ...) is an option: a value, a "
    "list, a range low:high[:step] with both ends, or a mix."
)


def sweep(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option("--from", help="A sweep as TOML, like the _sweep.toml of results; options add to it."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the results.")] = None,
    policy: Annotated[list[str] | None, typer.Option(help="Repeat for several [default: fcfs and laps-sd].")] = None,
    seeds: Annotated[int | None, typer.Option(help="Workloads of each setting [default: 20].")] = None,
    first_seed: Annotated[int | None, typer.Option(help="The first of them [default: 0].")] = None,
    until_ci: Annotated[
        str | None,
        typer.Option(help="Stop a setting when all differences to the baseline are known to within this, as in 2%."),
    ] = None,
    max_seeds: Annotated[int | None, typer.Option(help="The most seeds with --until-ci [default: 3200].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes [default: one a core].")] = None,
    dask: Annotated[str | None, typer.Option(help="Use the Dask cluster of this scheduler, tcp://host:8786.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Do what is missing in a stopped sweep's folder.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, however many runs there are.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the sweep that is there.")] = False,
) -> None:
    """Run every combination of policies, parameters, settings and seeds into a folder of Parquet files."""
    from sim.sweeps import parts
    from sim.sweeps.grid import Sweep
    from sim.sweeps.run import finish, load_work
    from sim.sweeps.workers import connect

    if workers is not None and workers < 1:
        raise ValueError(f"--workers {workers}: must be at least 1")
    if max_seeds is not None and until_ci is None:
        raise ValueError(f"--max-seeds {max_seeds}: only with --until-ci; --seeds sets how many there are")
    if until_ci is not None and seeds is not None:
        raise ValueError("--seeds with --until-ci: give --max-seeds")
    asked = _asked(context.args, policy, seeds, first_seed)
    if until_ci is not None:
        asked |= {"until_ci": until_ci, "seeds": max_seeds or MAX_SEEDS}
    if resume is not None:
        if asked or file or out:
            raise ValueError("--resume takes what to run from the folder: give nothing else of it")
        folder, wanted = resume, Sweep.from_document(parts.read_asked(resume)["sweep"], str(resume))
    else:
        if out is None:
            raise ValueError("--out: a folder for the results is needed (or --resume FOLDER)")
        base = Sweep.from_toml(file).document() if file else {}
        for table in ("parameters", "settings"):
            asked[table] = base.get(table, {}) | asked.get(table, {})
        folder, wanted = out, Sweep.from_document(base | asked, str(file or "sweep"))
    work = load_work(wanted)
    runs = sum(chunk.runs for chunk in work.chunks)
    console = Console(stderr=True)
    most = "at most " if wanted.until_ci else ""
    console.print(
        f"{most}{runs:,} runs: {len(work.policies):,} configurations of policies, {len(work.settings):,} settings, "
        f"{wanted.seeds:,} seeds", highlight=False,
    )  # fmt: skip
    if runs > ASK_BEYOND and not yes and not (sys.stdin.isatty() and typer.confirm("Run them all?", err=True)):
        raise ValueError(f"{runs:,} runs are more than {ASK_BEYOND:,}: give --yes to run them")
    client = connect(dask) if dask else None
    hands = sum(client.nthreads().values()) if client else workers or os.cpu_count()  # type: ignore[no-untyped-call]
    console.print(f"{hands} workers{f' at {dask}' if dask else ''}", highlight=False)
    if resume is None:
        parts.claim(folder, work, overwrite=overwrite)
    try:
        _watch(console, lambda told: finish(folder, work, workers=workers, client=client, progress=told))
    finally:
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]
    if wanted.until_ci:
        looks = json.loads((folder / parts.LOOKS).read_text(encoding="utf-8"))
        stopped = [entry["seeds"] for entry in looks if entry["stopped"]]
        console.print(
            f"{len(stopped)} of {len(looks)} settings are known to within {wanted.until_ci:.2%}"
            + (f", after {min(stopped)} to {max(stopped)} seeds" if stopped else ""), highlight=False,
        )  # fmt: skip
    console.print(f"results: {escape(str(folder))}", highlight=False, soft_wrap=True)


def _asked(
    extra: Sequence[str], policy: list[str] | None, seeds: int | None, first_seed: int | None
) -> dict[str, object]:
    """What the command line says of the sweep, as a document."""
    from sim.sweeps.grid import SETTINGS

    found: dict[str, Any] = {}
    tables: dict[str, dict[str, object]] = {"parameters": {}, "settings": {}}
    words = list(extra)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise ValueError(f"{word!r}: an option of a sweep is --NAME VALUES, as in --K 2:8")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not words or words[0].startswith("--"):
                raise ValueError(f"--{name}: needs a value, a list or a range")
            value = words.pop(0)
        key = name.replace("-", "_")
        table = tables["settings" if key in SETTINGS else "parameters"]
        if key in table:
            raise ValueError(f"--{name} is given twice: write its values as one list")
        table[key] = value
    found |= {name: entries for name, entries in tables.items() if entries}
    for name, given in (("policies", policy), ("seeds", seeds), ("first_seed", first_seed)):
        if given is not None:
            found[name] = given
    return found


def _watch(console: Console, finish: Callable[[Callable[[int, int], None]], None]) -> None:
    """Show runs done, their rate and the time left; where nobody watches, a line after a moment and at the end."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    started, before, told = time.monotonic(), -1, False
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("running", total=None, rate="")

        def progress(done: int, total: int) -> None:
            nonlocal before, told
            if before < 0:
                before = done
                if done:
                    console.print(f"{done:,} of them are there", highlight=False)
            took = time.monotonic() - started
            rate = (done - before) / took if took > 0 else 0.0
            bar.update(task, completed=done, total=total, rate=f"{rate:,.0f} runs/s")
            if not console.is_terminal and not told and done > before and took > 2 and done < total:
                told = True
                console.print(f"about {(total - done) / rate:,.0f} s left at {rate:,.0f} runs/s", highlight=False)
            if done == total:
                new = done - before
                console.print(f"{new:,} runs in {took:,.1f} s, {rate:,.0f} runs/s", highlight=False)

        finish(progress)


def best(
    folder: Annotated[Path, typer.Argument(help="A sweep's folder.")],
    by: Annotated[str, typer.Option(help="Columns to find the best within, as in requests,dataset.")] = "",
    metric: Annotated[str, typer.Option(help="What should be low.")] = "mean_latency_s",
    as_json: Annotated[bool, typer.Option("--json", help="Print records instead of tables.")] = False,
) -> None:
    """Tell which configurations are not worse than the best, selected on some seeds and reported on others."""
    from sim.sweeps import parts
    from sim.sweeps.best import best as find
    from sim.tables import best_tables

    verdicts = find(parts.read(folder), [name for name in by.split(",") if name], metric)
    if as_json:
        print(json.dumps([v.record for v in verdicts], indent=2, allow_nan=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 150)
    for part in best_tables(verdicts):
        console.print(part)
