"""The verb `validate`: serve requests for real, and hold the simulator to what happens."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from lapsd.calibrate import load_pair
from lapsd.calibrate.models.loading import load_tokenizer, locate_pair
from lapsd.calibrate.prompts import PROMPT_SETS, Prompt, bundled_prompts, read_prompts
from lapsd.cli.calibrate_pair import run_with_models
from lapsd.cli.options import FIGURES, AsJson, Overwrite, check_file, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.tables.validation import text_table
from lapsd.cli.terminal import console, watch
from lapsd.policies import (
    FCFS,
    LAS,
    LPSJF,
    LPSRPT,
    POLICIES,
    SRPT,
    KernelGittins,
    LapsSD,
    Policy,
    parse_policy,
    spec_of,
)
from lapsd.serve.engine import Engine
from lapsd.serve.own.engine import OwnEngine
from lapsd.serve.plan import CLOCKS
from lapsd.serve.validation.blocks import Block, Trial
from lapsd.serve.validation.findings import Outcome, outcomes
from lapsd.serve.validation.folder import Folder
from lapsd.serve.validation.report import Report
from lapsd.serve.validation.source import Source
from lapsd.serve.validation.tables import differences_text, errors_text, latencies_text
from lapsd.serve.vllm.process import DEFAULT_PYTHON, VllmEngine
from lapsd.sim.experiment import Scenario
from lapsd.traces import Profile, Trace, load_profile, load_trace
from lapsd.traces.errors import INTERRUPTED
from lapsd.traces.files import write_whole

SETTINGS = (
    "trace",
    "requests",
    "length_predictor",
    "split_seed",
    "batch",
    "kv_slots",
    "kv_tokens",
    "evict",
)
ENGINES = {"own": "our own engine", "vllm": "vLLM"}
SEEDS, LOADS = 5, (0.8,)

app = verb()


@app.command(name="validate")
@with_scenario(SETTINGS, defaults={"requests": 40, "length_predictor": "learned"})
def command(
    scenario: Mapping[str, Any],
    load: Annotated[
        list[float] | None,
        typer.Option(help="Arriving work per unit of time; repeat for several [default: 0.8]."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help=f"Repeat for several, FCFS is always there: {', '.join(POLICIES)}."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Workloads: seeds 0, 1, ...")] = SEEDS,
    engine: Annotated[
        str, typer.Option(help=f"{' or '.join(ENGINES)}: what serves for real.")
    ] = "own",
    vllm_python: Annotated[
        Path,
        typer.Option(help="The Python of an environment that has vLLM (make vllm sets one up)."),
    ] = DEFAULT_PYTHON,
    clock: Annotated[
        str,
        typer.Option(
            help="busy: idle time is leapt over, so that only durations vary; wall: slept through."
        ),
    ] = "busy",
    target: Annotated[
        str, typer.Option(help="The large model: 'reference', a folder, or a name.")
    ] = "reference",
    draft: Annotated[str, typer.Option(help="The small model.")] = "reference",
    prompts: Annotated[
        list[str] | None,
        typer.Option(help="The prompts of the trace's requests, as calibrated [default: bundled]."),
    ] = None,
    field: Annotated[
        str, typer.Option(help="The key of the text in a prompts file's lines.")
    ] = "prompt",
    profile: Annotated[
        Path | None,
        typer.Option(help="Foretell from this profile, not from costs measured between the runs."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few calibration rounds: for trying it out.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16 or float64.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Keep every live run, and the tables, in this folder.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a folder that was interrupted.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw latency foretold over latency measured.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write everything as one page.")] = None,
    as_json: AsJson = False,
) -> int:
    """Serve requests for real under several policies, and say how well the simulator foretold it.

    Live runs decode as the trace was recorded. Calibration rounds run between them; the simulator
    foretells each run from their means and from the run's own acceptance.
    """
    check_file("--plot", plot, FIGURES)
    check_file("--html", html, (".html",))
    if resume and (overwrite or out is None):
        raise ValueError("--resume: needs --out, and goes without --overwrite")
    for option, value, known in (("--clock", clock, CLOCKS), ("--engine", engine, ENGINES)):
        if value not in known:
            raise ValueError(f"{option} {value}: must be {' or '.join(known)}")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: must be at least 1")
    loads = list(dict.fromkeys(load or LOADS))
    # vLLM keeps the blocks of who waits unless it is told otherwise
    scenario = {**({"kv_slots": 0} if engine == "vllm" else {}), **scenario}
    policies, name = _policies(policy), str(scenario.pop("trace", "reference"))
    trace = load_trace(name)
    for one in loads:  # refuse what is wrong before any model is loaded
        Scenario.of(**{**scenario, "load": one}).predictor.predict(np.arange(len(trace)), trace, 0)
    for known, path in ((trace.provenance, f"trace {name}"), *_given(profile)):
        _hold_models(known, path, target, draft)
    locate_pair(target, draft)
    folder = _folder(
        out, scenario, loads, policies, name, clock, overwrite=overwrite, resume=resume
    )
    source = Source.of(trace, _texts(trace, prompts, field), _tokenizer(target), name)
    serving: Engine
    if engine == "vllm":
        serving = VllmEngine(target, draft, vllm_python, _typed())
    else:
        serving = OwnEngine(load_pair(target, draft, device=device, dtype=dtype), _typed())
    trial = Trial(serving, source, dict(scenario), policies, clock, quick)
    given = load_profile(profile) if profile is not None else None
    outcomes, complete = _serve(trial, loads, seeds, folder, given, quiet=as_json)
    if outcomes:
        report = Report(
            f"{ENGINES[engine]} with {target} + {draft}", _made(trial, loads, seeds), outcomes
        )
        _show(report, folder, plot, html, as_json=as_json)
    return 0 if complete else INTERRUPTED


def _policies(specs: list[str] | None) -> list[Policy]:
    """FCFS, against which the others are measured, and those asked for."""
    asked = (
        [parse_policy(spec) for spec in specs]
        if specs
        else [LAS(), LPSJF(), LPSRPT(), LapsSD(), KernelGittins(), SRPT()]
    )
    return list({spec_of(p): p for p in (FCFS(), *asked)}.values())


def _given(profile: Path | None) -> list[tuple[Any, str]]:
    return [] if profile is None else [(load_profile(profile).provenance, f"profile {profile}")]


def _hold_models(known: Any, what: str, target: str, draft: str) -> None:
    """See that a trace or a profile is of the models that are served."""
    names = tuple(
        model.name if model else "unknown models" for model in (known.target, known.draft)
    )
    if names != (target, draft):
        raise ValueError(
            f"{what}: is of {names[0]} + {names[1]}, but {target} + {draft} are to be served"
        )


def _folder(
    out: Path | None,
    scenario: Mapping[str, Any],
    loads: list[float],
    policies: list[Policy],
    trace: str,
    clock: str,
    *,
    overwrite: bool,
    resume: bool,
) -> Folder | None:
    if out is None:
        return None
    configuration = {
        "command": _typed(),
        "trace": trace,
        "setting": dict(scenario),
        "loads": loads,
        "clock": clock,
        "policies": [spec_of(p) for p in policies],
    }
    return Folder(out, configuration, overwrite=overwrite, resume=resume)


def _texts(trace: Trace, names: list[str] | None, field: str) -> list[tuple[str, str, str]]:
    seed = int(trace.provenance.notes.get("seed", 0))
    prompts: list[Prompt] = []
    for name in names or [name for name in PROMPT_SETS if name in trace.datasets]:
        bundled = name in PROMPT_SETS and not Path(name).exists()
        prompts += bundled_prompts(name, seed) if bundled else read_prompts(name, field)
    return [(p.dataset, p.request_id, p.text) for p in prompts]


def _tokenizer(target: str) -> Callable[[str], list[int]]:
    tokenizer = load_tokenizer(target)
    return lambda text: list(tokenizer(text)["input_ids"])


def _typed() -> str:
    arguments = sys.argv[1:] if sys.argv[1:2] == ["validate"] else ["validate", *sys.argv[1:]]
    return shlex.join(["lapsd", *arguments])


def _serve(
    trial: Trial,
    loads: list[float],
    seeds: int,
    folder: Folder | None,
    given: Profile | None,
    *,
    quiet: bool,
) -> tuple[list[Outcome], bool]:
    """Live runs, block by block, seeds before loads; what came of them, and whether nothing cut
    them short.
    """
    served: list[Block] = []
    asked = [(load, seed) for seed in range(seeds) for load in loads]
    with watch(quiet=quiet) as shown, suppress(KeyboardInterrupt):
        first = folder.profile if folder is not None else None
        if first is None:
            first = trial.first_profile(
                lambda what: shown.console.print(what) if not quiet else None
            )
            if folder is not None:
                folder.begin(first)
        for i, (load, seed) in enumerate(asked):
            shown("live runs", i, len(asked))
            block = folder.done(load, seed) if folder is not None else None
            if block is None:
                block = trial.block(load, seed, first, lambda what: None)
                if folder is not None:
                    folder.keep(block)
            served.append(block)
            if not block.complete:
                break
    return outcomes(served, given), len(served) == len(asked) and all(
        block.complete for block in served
    )


def _made(trial: Trial, loads: list[float], seeds: int) -> dict[str, str]:
    known = trial.engine.provenance
    return {
        "command": known.command,
        "machine": str(known.hardware),
        "models": f"{known.target} + {known.draft}",
        "type": known.dtype,
        "versions": ", ".join(f"{k} {v}" for k, v in known.software.items()),
        "commit": known.commit,
        "time": known.time,
        "loads": ", ".join(f"{x:g}" for x in loads),
        "seeds": str(seeds),
        "settings": ", ".join(f"{k} {v}" for k, v in trial.scenario.items()),
        "costs": (
            f"means of calibration rounds {'within' if trial.interleaves else 'before and after'}"
            " each run"
        ),
        "acceptance": "of each live run itself",
    }


def _show(
    report: Report, folder: Folder | None, plot: Path | None, html: Path | None, *, as_json: bool
) -> None:
    if folder is not None:
        folder.conclude(report.requests, report.findings())
    if plot is not None:
        write_whole(plot, lambda p: report.figure().savefig(p, dpi=160, format=plot.suffix[1:]))
    if html is not None:
        write_whole(html, lambda p: p.write_text(report.page(), encoding="utf-8"))
    if as_json:
        print(json.dumps(report.findings(), indent=2, allow_nan=False))
        return
    stdout = console()
    stdout.print(text_table(latencies_text(report.errors)), "")
    stdout.print(text_table(errors_text(report.errors)), "")
    if len(report.differences):
        stdout.print(text_table(differences_text(report.differences)), "")
    for line in (report.caption, *report.verdicts):
        stdout.print(escape(line), style="dim", highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the verb on `arguments` (default: the process's own) and return its exit code."""
    return run_with_models(app, "lapsd validate", arguments)
