"""The verb `import`: traces and arrivals from public files."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sim.cli.options import Overwrite, verb
from traces import ArrivalTrace, Trace, arrival_trace, save_arrivals, save_profile, save_trace, served, spec_bench

app = verb(help="Turn public files into lapsd's own.", no_args_is_help=True)


@app.command("vllm")
def import_vllm(
    file: Annotated[Path, typer.Argument(help="JSON lines with per_step_accepted a request (.gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The trace to write.")],
    draft_tokens: Annotated[int | None, typer.Option(help="Tokens drafted a step, if the file does not say.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Import what vLLM recorded of each request's speculative steps."""
    free_to_write(out, overwrite=overwrite)
    write_imported(served.import_vllm(file, draft_tokens=draft_tokens), out)


@app.command("specdecode-bench")
def import_specdecode_bench(
    file: Annotated[Path, typer.Argument(help="JSON lines with acc_len a request (.gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The trace to write.")],
    draft_tokens: Annotated[int, typer.Option(help="Draft length of the trace's rounds; replays take any.")] = 4,
    overwrite: Overwrite = False,
) -> None:
    """Import SpecDecode-Bench's acceptances per output position."""
    free_to_write(out, overwrite=overwrite)
    write_imported(served.import_specdecode_bench(file, draft_tokens=draft_tokens), out)


def free_to_write(*files: Path, overwrite: bool) -> None:
    for path in files:
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists already: choose another name or give --overwrite")
    if not files[0].parent.is_dir():
        raise ValueError(f"{files[0]}: there is no folder {files[0].parent}")


def write_imported(trace: Trace, out: Path) -> None:
    save_trace(trace, out)
    print(f"{out}: {len(trace)} requests, {trace.rounds.sum()} rounds, {trace.output_tokens.sum()} tokens")
    for told in trace.metadata.get("missing", []):
        print(f"not in the file: {told}")


@app.command("azure")
def import_azure(
    file: Annotated[Path, typer.Argument(help="A CSV with TIMESTAMP, ContextTokens, GeneratedTokens (.gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The arrivals to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Import the arrivals of an Azure LLM inference trace."""
    _import_arrivals(arrival_trace.import_azure, file, out, overwrite=overwrite)


@app.command("mooncake")
def import_mooncake(
    file: Annotated[Path, typer.Argument(help="JSON lines of timestamp, input_length, output_length (.gz allowed).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The arrivals to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Import the arrivals of a Mooncake trace."""
    _import_arrivals(arrival_trace.import_mooncake, file, out, overwrite=overwrite)


def _import_arrivals(read: Callable[[Path], ArrivalTrace], file: Path, out: Path, *, overwrite: bool) -> None:
    free_to_write(out, overwrite=overwrite)
    found = read(file)
    save_arrivals(found, out)
    span = (found.arrival_ns[-1] - found.arrival_ns[0]) / 1e9
    print(f"{out}: {len(found)} arrivals in {span:.0f} s, {found.rate_per_s:.3g}/s, CV of gaps {found.cv:.2f}")


@app.command("spec-bench")
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
    profile_file = out.with_suffix(".json")
    free_to_write(out, profile_file, overwrite=overwrite)
    if out == profile_file:
        raise ValueError(f"{out}: a trace's name cannot end in .json")
    imported = spec_bench.import_spec_bench(file, questions=questions, draft_schedule=draft_schedule)
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
