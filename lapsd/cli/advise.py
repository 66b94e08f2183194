"""The command `lapsd advise`: how many tokens to draft by batch size, for vLLM's configuration."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.markup import escape

from lapsd.cli.import_tables import MODEL
from lapsd.cli.options import AsJson, Overwrite, check_file, verb
from lapsd.cli.scenario_options import with_scenario
from lapsd.cli.speculation import SpeculationAnswer
from lapsd.cli.tables.cells import table_of
from lapsd.cli.terminal import console, watch
from lapsd.policies import FCFS
from lapsd.sim.experiment.advice import Entry, candidates, draft_table, gains, vllm_config
from lapsd.sim.experiment.no_effect import refuse_without_effect
from lapsd.sim.experiment.numbers import number
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.traces import Profile, load_profile, load_trace
from lapsd.traces.derived.speculation import largest_batch
from lapsd.traces.files import write_text
from lapsd.traces.operator_tables import TablesRequest, profile_from_tables

BATCH = 64
SETTINGS = tuple(name for name in SCENARIO_FIELDS if name not in ("draft_tokens", "profile"))
app = verb()


@app.command()
@with_scenario(only=SETTINGS, defaults={"trace": "reference"})
def advise(
    scenario: Mapping[str, Any],
    gpu: Annotated[
        str | None,
        typer.Option(help="GPU, by its name in lapsd import aiconfigurator [default: h200_sxm]."),
    ] = None,
    target: Annotated[str | None, typer.Option(help=f"Target model: {MODEL}.")] = None,
    draft: Annotated[
        str | None, typer.Option(help=f"Draft model: {MODEL}; eagle or ngram.")
    ] = None,
    tp: Annotated[int | None, typer.Option(help="GPUs that share the models [default: 1].")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Number format of the target's weights [default: by its config.json]."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Serving engine: vllm, sglang, trtllm [default: vllm].")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="A profile file or a bundled one, instead of --target and the others."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of workloads; their seeds are 0, 1, ...")] = 20,
    as_json: AsJson = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the entries of vLLM's speculative config (.json).")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print how many tokens to draft by batch size, for vLLM, and what that gains at a load."""
    models = {
        "gpu": gpu,
        "target": target,
        "draft": draft,
        "tp": tp,
        "dtype": dtype,
        "engine": engine,
    }
    check_file("--out", out, (".json",), overwrite=overwrite, inputs=(profile, scenario["trace"]))
    machine = _machine(
        profile, {name: value for name, value in models.items() if value is not None}
    )
    prepared = _prepared(scenario, machine, profile or f"{target} on {gpu or 'h200_sxm'}")
    trained = prepared.split.train.trace
    answer = SpeculationAnswer.of(prepared.profile, trained, scenario["trace"])
    table = draft_table(answer.pays)
    tried = [FCFS(drafts=one) for one in candidates(table).values()]
    refuse_without_effect([prepared], tried)
    with watch(quiet=as_json) as shown:
        found = gains(prepared, table, seeds, lambda done, of: shown("simulating", done, of))
    config = vllm_config(table)
    if out is not None:
        write_text(out, json.dumps(config, indent=2) + "\n")
    if as_json:
        print(json.dumps(_document(config, answer, found, prepared), indent=2, allow_nan=False))
    else:
        _show(config, table, answer, found, prepared.caption(seeds))


def _machine(profile: str | None, models: Mapping[str, Any]) -> Profile:
    """Return the profile that is named, or that the tables give for the models.

    Raises
    ------
    ValueError
        If neither or both are given, or there is no such profile.
    """
    if profile is not None:
        if models:
            raise ValueError(
                f"--profile {profile}: has its own models and GPU; not with --{next(iter(models))}"
            )
        return load_profile(profile)
    for option in ("target", "draft"):
        if option not in models:
            raise ValueError(f"--{option}: is needed, or --profile with a profile of a machine")
    if models["draft"] == "none":
        raise ValueError("--draft none: drafts nothing, so there is nothing to advise")
    request = TablesRequest(**({"gpu": "h200_sxm", "engine": "vllm"} | dict(models)))
    made = profile_from_tables(request).profile
    assert made is not None
    return made


def _prepared(scenario: Mapping[str, Any], machine: Profile, name: str) -> PreparedScenario:
    """Return the scenario, with a batch size and a number of requests that suit it."""
    given = dict(scenario)
    trace = load_trace(given.pop("trace"))
    if "batch" not in given:
        given["batch"] = max(1, min(BATCH, largest_batch(trace, machine)))
    given.setdefault("requests", max(100, 15 * given["batch"]))
    return PreparedScenario.of(trace, machine, **given)


def _document(
    config: dict[str, Any],
    answer: SpeculationAnswer,
    found: pd.DataFrame,
    prepared: PreparedScenario,
) -> dict[str, Any]:
    """Return everything as a JSON document; a missing interval is null."""
    rows = [
        {
            str(k): None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in row.items()
        }
        for row in found.to_dict("records")
    ]
    settings = prepared.scenario
    return {
        "speculative_config": config,
        "verdict": answer.verdict,
        "batch": settings.batch,
        "requests": settings.requests,
        "policies": rows,
    }


def _show(
    config: dict[str, Any],
    table: list[Entry],
    answer: SpeculationAnswer,
    found: pd.DataFrame,
    caption: str,
) -> None:
    """Print the configuration, where speculation should be off, and the gains."""
    stdout = console()
    (name, most), (by_batch, entries) = config.items()
    rows = ", ".join(json.dumps(entry) for entry in entries)
    stdout.print(escape(f'"{name}": {most},\n"{by_batch}": [{rows}]'), "", soft_wrap=True)
    off = [f"{e.first} to {e.last}" for e in table if e.length == 0]
    stdout.print(escape(f"{answer.verdict}."), soft_wrap=True)
    stdout.print(
        f"Turn speculation off at batch sizes {', '.join(off)}."
        if off
        else f"Turn speculation off at no batch size up to {table[-1].last}.",
        "",
    )
    shown = table_of("drafts", "mean s", "to off %", "95 %", "to best\nfixed %", "95 % ")
    for row in found.to_dict("records"):
        spec = row["draft_policy"].removeprefix("fixed:most=")
        label = f"best fixed: {3 if spec == 'fixed' else spec}"
        shown.add_row(
            label if row["name"] == "best fixed" else row["name"],
            number(row["mean_latency_s"]),
            *_percent(row, "to_off"),
            *_percent(row, "to_best"),
        )
    stdout.print(shown, "")
    stdout.print(escape(caption), style="dim")
    for line in answer.left_out:
        stdout.print(escape(f"{line[:1].upper()}{line[1:]}."), style="dim")


def _percent(row: Mapping[Any, Any], name: str) -> tuple[str, str]:
    """Return a difference in percent and its interval as text."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "-" if low == high or math.isnan(low) else f"{low:+.1f} to {high:+.1f}"
    return f"{row[name]:+.1f}", interval
