"""The verb `validate`: serve requests with real models and compare with the simulator."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from lapsd.calibrate import Pair, load_pair
from lapsd.calibrate.models.loading import load_tokenizer, locate_pair
from lapsd.calibrate.prompts import PROMPT_SETS, Prompt, bundled_prompts, read_prompts
from lapsd.cli.calibrate_pair import run_with_models
from lapsd.cli.literal import refuse_ignored
from lapsd.cli.live_workloads import Serving
from lapsd.cli.measuring import HELP, budget_of, report_left_out, use_threads
from lapsd.cli.options import (
    FIGURES,
    AsJson,
    DraftPolicies,
    Overwrite,
    check_different,
    check_file,
    crossed,
    verb,
)
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
)
from lapsd.policies.source import own_sources
from lapsd.serve.engine import Engine
from lapsd.serve.own.engine import OwnEngine
from lapsd.serve.plan import CLOCKS, importable_spec
from lapsd.serve.validation.findings import outcomes
from lapsd.serve.validation.folder import VALIDATION, Folder
from lapsd.serve.validation.live_runs import Trial, check_policies
from lapsd.serve.validation.noise import STEADY, too_noisy
from lapsd.serve.validation.report import Report
from lapsd.serve.validation.source import Source
from lapsd.serve.validation.tables import differences_text, errors_text, latencies_text
from lapsd.serve.vllm.process import DEFAULT_PYTHON, VllmEngine
from lapsd.sim.experiment import Scenario
from lapsd.sim.figures.saving import save
from lapsd.traces import Trace, load_profile, load_trace
from lapsd.traces.errors import INTERRUPTED
from lapsd.traces.files import file_sha256, only_writer, profile_sha256, trace_sha256, write_text

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
    context: typer.Context,
    scenario: Mapping[str, Any],
    load: Annotated[
        list[float] | None,
        typer.Option(help="Arriving work per unit of time; repeatable [default: 0.8]."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A policy, or your own as module.Class; repeatable; fcfs always runs:"
            f" {', '.join(POLICIES)}."
        ),
    ] = None,
    draft_policy: DraftPolicies = None,
    seeds: Annotated[int, typer.Option(help="Number of workloads: seeds 0, 1, ...")] = SEEDS,
    engine: Annotated[
        str, typer.Option(help=f"The engine that serves: {' or '.join(ENGINES)}.")
    ] = "own",
    vllm_python: Annotated[
        Path,
        typer.Option(help="The Python of an environment that has vLLM (make vllm sets one up)."),
    ] = DEFAULT_PYTHON,
    clock: Annotated[
        str,
        typer.Option(
            help="busy: skip idle time, so that only durations vary; wall: sleep through idle time."
        ),
    ] = "busy",
    target: Annotated[
        str, typer.Option(help="The large model: 'reference', a folder or a name.")
    ] = "reference",
    draft: Annotated[str, typer.Option(help="The small model.")] = "reference",
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            help="Prompts of the trace's requests, as given to calibrate [default: bundled]."
        ),
    ] = None,
    field: Annotated[
        str, typer.Option(help="The key of the text in the lines of a prompts file.")
    ] = "prompt",
    profile: Annotated[
        Path | None,
        typer.Option(
            help="Predict with the costs of this profile instead of the calibration rounds."
        ),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out",
            help="Predict only from what was measured before the runs: costs of --profile, or of"
            " the first calibration, and acceptance of the trace.",
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run few calibration rounds, to try it out.")
    ] = False,
    budget: Annotated[str | None, typer.Option(help=HELP)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16 or float64.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Write every live run and the tables to this folder.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted validation in --out.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Plot predicted against measured latency.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report as one HTML page.")] = None,
    unless_noisy: Annotated[
        bool,
        typer.Option(
            "--unless-noisy",
            help=f"Where the machine's speed changes by more than {STEADY:g} % during a run, say so"
            " in one sentence instead of tables and figures.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Serve requests with real models under several policies and compare with the simulator.

    Live runs decode with the settings of the trace. Calibration rounds run between the live rounds.
    The simulator is given their mean costs and the acceptance of the run; with --held-out, only
    what was measured before.
    """
    inputs = [scenario.get("trace"), profile, *(prompts or [])]
    for option, file, endings in (("--plot", plot, FIGURES), ("--html", html, (".html",))):
        check_file(option, file, endings, overwrite=overwrite or resume, inputs=inputs)
    check_different({"--plot": plot, "--html": html}, out, VALIDATION)
    if resume and (overwrite or out is None):
        raise ValueError("--resume: needs --out, and excludes --overwrite")
    for option, value, known in (("--clock", clock, CLOCKS), ("--engine", engine, ENGINES)):
        if value not in known:
            raise ValueError(f"{option} {value}: must be {' or '.join(known)}")
    if engine == "own":
        refuse_ignored("without --engine vllm", "vllm_python")
    if not prompts:
        refuse_ignored("without --prompts", "field")
    if as_json:
        refuse_ignored("with --json", "unless_noisy")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: must be at least 1")
    if draft_policy and engine == "vllm":
        raise ValueError(
            "--draft-policy: needs --engine own: vLLM's steps are timed at one draft length only"
        )
    if held_out and engine == "vllm":
        raise ValueError("--held-out: needs --engine own: vLLM's steps differ from the trace's")
    if held_out and draft_policy:
        raise ValueError(
            "--held-out: excludes --draft-policy: the trace was recorded at one draft length"
        )
    bundled = engine == "own" and (target, draft) == ("reference", "reference")
    limit = budget_of(budget, bundled=bundled)
    loads = list(dict.fromkeys(load or LOADS))
    # in vLLM preempted requests keep their blocks by default
    scenario = {**({"kv_slots": "unlimited"} if engine == "vllm" else {}), **scenario}
    policies, name = _policies(policy, draft_policy), str(scenario.pop("trace", "reference"))
    trace = load_trace(name)
    for one in loads:  # report wrong options before any model is loaded
        Scenario.of(**{**scenario, "load": one}).predictor.predict(np.arange(len(trace)), trace, 0)
    for known, path in ((trace.provenance, f"trace {name}"), *_given(profile)):
        _check_models(known, path, target, draft)
    locate_pair(target, draft)
    source = Source.of(trace, _texts(trace, prompts, field), _tokenizer(target), name)
    check_policies(source.trace, scenario, policies)
    vllm = VllmEngine(target, draft, vllm_python, _typed()) if engine == "vllm" else None
    if vllm is not None:
        vllm.check_policies([importable_spec(p) for p in policies])
    folder = None
    if out is not None:
        context.with_resource(only_writer(out))
        described = {
            "command": _typed(),
            "trace": name,
            "trace_sha256": trace_sha256(name),
            "setting": dict(scenario),
            "loads": loads,
            "clock": clock,
            "policies": [importable_spec(p) for p in policies],
            "policy_sha256": own_sources(policies),
            "engine": engine,
            "target": target,
            "draft": draft,
            "prompts": {p: _prompts_sha256(p) for p in prompts or []},
            "profile_sha256": None if profile is None else profile_sha256(profile),
            "quick": quick,
            "device": device,
            "dtype": dtype,
        }
        folder = Folder(out, described, overwrite=overwrite, resume=resume)
    serving: Engine = vllm or _own_engine(
        load_pair(target, draft, device=device, dtype=dtype),
        source.draft_tokens,
        scenario.get("batch", 1),
        folder,
        quiet=as_json,
    )
    trial = Trial(serving, source, dict(scenario), policies, clock, quick)
    given = load_profile(profile) if profile is not None else None
    with watch(quiet=as_json, stages=True) as shown:
        served = Serving(trial, loads, seeds, folder, limit, shown).serve()
    if held_out:
        found = outcomes(served.runs, given or served.costs, source.trace)
    else:
        found = outcomes(served.runs, given)
    if found:
        report = Report(
            f"{ENGINES[engine]} with {target} + {draft}",
            _made(trial, loads, seeds, profile, held_out) | served.made(limit),
            found,
        )
        if folder is not None:
            folder.conclude(report.requests, report.findings(), complete=served.complete)
        _show(report, plot, html, as_json=as_json, unless_noisy=unless_noisy)
    report_left_out("validate", limit, served.left_out)
    return 0 if served.complete else INTERRUPTED


def _own_engine(pair: Pair, n: int, batch: int, folder: Folder | None, *, quiet: bool) -> OwnEngine:
    """Return our own engine; a resumed validation keeps its number of threads."""
    begun = None if folder is None else folder.profile
    machine = None if begun is None else begun.provenance.hardware
    use_threads(pair, n, batch, None if machine is None else machine.threads, quiet=quiet)
    return OwnEngine(pair, _typed())


def _policies(specs: list[str] | None, drafts: list[str] | None = None) -> list[Policy]:
    """Return FCFS, the baseline, and the policies of the command line without duplicates.

    With draft policies, each policy is crossed with each; by default the policy is FCFS.
    """
    chosen = crossed(specs or ["fcfs"], drafts) if drafts else specs
    policies = (
        [parse_policy(spec) for spec in chosen]
        if chosen
        else [LAS(), LPSJF(), LPSRPT(), LapsSD(), KernelGittins(), SRPT()]
    )
    return list({importable_spec(p): p for p in (FCFS(), *policies)}.values())


def _given(profile: Path | None) -> list[tuple[Any, str]]:
    return [] if profile is None else [(load_profile(profile).provenance, f"profile {profile}")]


def _check_models(known: Any, what: str, target: str, draft: str) -> None:
    """Check that a trace or a profile is of the models to serve."""
    names = tuple(
        model.name if model else "unknown models" for model in (known.target, known.draft)
    )
    if names != (target, draft):
        raise ValueError(
            f"{what}: is of the models {names[0]} + {names[1]}, but the models to serve are"
            f" {target} + {draft}"
        )


def _prompts_sha256(name: str) -> str:
    """Return the digest of a file of prompts; a bundled set has its name."""
    return file_sha256(name) if Path(name).exists() else name


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


def _made(
    trial: Trial, loads: list[float], seeds: int, profile: Path | None, held_out: bool
) -> dict[str, str]:
    """Return the configuration of the validation, for the report."""
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
            f"profile {profile}"
            if profile is not None
            else "means of the calibration before the first run"
            if held_out
            else "means of calibration rounds"
            f" {'within' if trial.interleaves else 'before and after'} each run"
        ),
        "acceptance": (
            "recorded in the trace, before the runs" if held_out else "measured in each live run"
        ),
    }


def _show(
    report: Report, plot: Path | None, html: Path | None, *, as_json: bool, unless_noisy: bool
) -> None:
    """Print the report and, after that, write figure and page.

    With `unless_noisy` one sentence takes their place where the machine was too noisy.
    """
    noisy = too_noisy(report.outcomes) if unless_noisy else None
    if noisy is not None:
        print(noisy)
        return
    if as_json:
        print(json.dumps(report.findings(), indent=2, allow_nan=False))
    else:
        _print(report)
    if html is not None:
        write_text(html, report.page())
    if plot is not None:
        save(report.figure(), plot)


def _print(report: Report) -> None:
    stdout = console()
    stdout.print(text_table(latencies_text(report.errors)), "")
    stdout.print(text_table(errors_text(report.errors)), "")
    if len(report.differences):
        stdout.print(text_table(differences_text(report.differences)), "")
    for line in (report.caption, *report.verdicts):
        stdout.print(escape(line), style="dim", highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the verb on `arguments` (default: the command line) and return its exit code."""
    return run_with_models(app, "lapsd validate", arguments)
