"""The verbs `import` and `generate`: traces and arrivals from public files, and from a model of acceptance."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from traces import ArrivalTrace, Trace, save_arrivals

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
importer = typer.Typer(help="Turn public files into lapsd's own.", rich_markup_mode=None, no_args_is_help=True)


def generate(
    out: Annotated[Path, typer.Option("-o", "--out", help="The trace to write.")],
    source: Annotated[
        str, typer.Option("--trace", help="The recorded trace, or 'reference' for the bundled one.")
    ] = ("reference"),
    requests: Annotated[
        int | None, typer.Option(help="How many [default: 1000, or all that --lengths holds].")
    ] = None,
    lengths: Annotated[
        Path | None,
        typer.Option(help="Arrivals (lapsd import azure or mooncake) whose prompt and output lengths to take."),
    ] = None,
    acceptance: Annotated[
        str, typer.Option(help="fitted: from a model fitted to the trace; recorded: its rounds, by output length.")
    ] = "fitted",
    spread: Annotated[
        float, typer.Option(help="Of a fitted model: scales how far requests' acceptances (their logits) lie apart.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same gives the same trace.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make a trace of any size whose requests accept like those of a recorded one."""
    from traces import load_arrivals, load_trace
    from traces.acceptance_model import fit_acceptance
    from traces.acceptance_model import generate as make
    from traces.borrow import borrow_acceptance

    if acceptance not in ("fitted", "recorded"):
        raise ValueError(f"--acceptance {acceptance}: must be fitted or recorded")
    if acceptance == "recorded" and (lengths is None or spread != 1):
        raise ValueError("--acceptance recorded: needs --lengths, and leaves the spread as it was recorded")
    if requests is not None and requests < 1:
        raise ValueError(f"--requests {requests}: must be at least 1")
    if seed < 0:
        raise ValueError(f"--seed {seed}: must be at least 0")
    _free_to_write(out, overwrite=overwrite)
    trace = load_trace(source)
    if lengths is None:
        made = make(trace, fit_acceptance(trace), requests=requests or 1_000, spread=spread, seed=seed)
    else:
        public = load_arrivals(lengths)
        some = slice(requests)
        prompts, outputs = public.prompt_tokens[some], public.output_tokens[some]
        if requests is not None and requests > len(public):
            raise ValueError(f"--requests {requests}: {lengths} holds {len(public)}")
        if acceptance == "fitted":
            made = make(
                trace, fit_acceptance(trace), prompt_tokens=prompts, output_tokens=outputs, spread=spread, seed=seed
            )
        else:
            made = borrow_acceptance(trace, prompts, outputs, seed=seed)
        made = replace(made, metadata={**made.metadata, "lengths": public.source})
    _write_imported(made, out)


@importer.command("vllm")
def import_vllm(
    file: Annotated[Path, typer.Argument(help="JSON lines with per_step_accepted a request (.gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The trace to write.")],
    draft_tokens: Annotated[int | None, typer.Option(help="Tokens drafted a step, if the file does not say.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Import what vLLM recorded of each request's speculative steps."""
    from traces import served

    _free_to_write(out, overwrite=overwrite)
    _write_imported(served.import_vllm(file, draft_tokens=draft_tokens), out)


@importer.command("specdecode-bench")
def import_specdecode_bench(
    file: Annotated[Path, typer.Argument(help="JSON lines with acc_len a request (.gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The trace to write.")],
    draft_tokens: Annotated[int, typer.Option(help="Draft length of the trace's rounds; replays take any.")] = 4,
    overwrite: Overwrite = False,
) -> None:
    """Import SpecDecode-Bench's acceptances per output position."""
    from traces import served

    _free_to_write(out, overwrite=overwrite)
    _write_imported(served.import_specdecode_bench(file, draft_tokens=draft_tokens), out)


def _free_to_write(*files: Path, overwrite: bool) -> None:
    for path in files:
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists already: choose another name or give --overwrite")
    if not files[0].parent.is_dir():
        raise ValueError(f"{files[0]}: there is no folder {files[0].parent}")


def _write_imported(trace: Trace, out: Path) -> None:
    from traces import save_trace

    save_trace(trace, out)
    print(f"{out}: {len(trace)} requests, {trace.rounds.sum()} rounds, {trace.output_tokens.sum()} tokens")
    for told in trace.metadata.get("missing", []):
        print(f"not in the file: {told}")


@importer.command("azure")
def import_azure(
    file: Annotated[Path, typer.Argument(help="A CSV with TIMESTAMP, ContextTokens, GeneratedTokens (.gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The arrivals to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Import the arrivals of an Azure LLM inference trace."""
    from traces import arrival_trace

    _import_arrivals(arrival_trace.import_azure, file, out, overwrite=overwrite)


@importer.command("mooncake")
def import_mooncake(
    file: Annotated[Path, typer.Argument(help="JSON lines of timestamp, input_length, output_length (.gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The arrivals to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Import the arrivals of a Mooncake trace."""
    from traces import arrival_trace

    _import_arrivals(arrival_trace.import_mooncake, file, out, overwrite=overwrite)


def _import_arrivals(read: Callable[[Path], ArrivalTrace], file: Path, out: Path, *, overwrite: bool) -> None:
    _free_to_write(out, overwrite=overwrite)
    found = read(file)
    save_arrivals(found, out)
    span = (found.arrival_ns[-1] - found.arrival_ns[0]) / 1e9
    print(f"{out}: {len(found)} arrivals in {span:.0f} s, {found.rate_per_s:.3g}/s, CV of gaps {found.cv:.2f}")


@importer.command("spec-bench")
def import_spec_bench(
    file: Annotated[Path, typer.Argument(help="A Spec-Bench answer file (JSON lines, .gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The trace to write; its profile gets the ending .json.")],
    questions: Annotated[Path | None, typer.Option(help="The question file, to estimate prompt lengths.")] = None,
    draft_schedule: Annotated[
        str, typer.Option(help="How draft lengths were chosen: heuristic:n (transformers' default) or constant:n.")
    ] = "heuristic:5",
    overwrite: Overwrite = False,
) -> None:
    """Import a public Spec-Bench answer file as a trace, and fit a profile to its wall times."""
    from traces import save_profile, save_trace
    from traces import spec_bench as source

    profile_file = out.with_suffix(".json")
    _free_to_write(out, profile_file, overwrite=overwrite)
    if out == profile_file:
        raise ValueError(f"{out}: a trace's name cannot end in .json")
    imported = source.import_spec_bench(file, questions=questions, draft_schedule=draft_schedule)
    save_trace(imported.trace, out)
    trace = imported.trace
    print(f"{out}: {len(trace)} requests, {trace.rounds.sum()} rounds, {trace.output_tokens.sum()} tokens")
    if questions is None:
        print("prompt lengths are not in the file: 0 (give --questions to estimate them)")
    else:
        print("prompt lengths are estimated from the questions' characters")
    if imported.profile is None:
        print("the file holds no wall times: no profile")
        return
    save_profile(imported.profile, profile_file)
    terms, fit = imported.profile.costs.rounds[1], imported.profile.fits["request"]
    print(
        f"{profile_file}: {terms.verify(1).base_ns / 1e6:.2f} ms a round + {terms.draft_step.base_ns / 1e6:.2f} ms a "
        f"draft token, median error {fit['median_error']:.1%} (prefill and switching are not in the file: 0)"
    )
