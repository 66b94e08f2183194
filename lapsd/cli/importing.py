"""The verb `import`: traces and arrivals from public files, one command per importer."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

from lapsd.cli.import_tables import aiconfigurator
from lapsd.cli.options import Overwrite, free_to_write, verb
from lapsd.traces import (
    IMPORTERS,
    ArrivalTrace,
    Imported,
    Importer,
    Prefixes,
    Profile,
    Trace,
    save_arrivals,
    save_profile,
    save_prompts,
    save_trace,
)
from lapsd.traces.invariants import check_trace

app = verb(help="Turn public files into lapsd's own.", no_args_is_help=True)


def command_of(made: type[Importer]) -> Callable[..., None]:
    """Return the command of an importer: input, output, and the importer's own options."""

    def command(file: Path, out: Path, overwrite: bool, **options: Any) -> None:
        inputs = (file, *(value for value in options.values() if isinstance(value, Path)))
        free_to_write(out, overwrite=overwrite, inputs=inputs)
        write_imported(made(**options).read(file), out, overwrite=overwrite, inputs=inputs)

    own = {
        f.name: (Annotated[f.type, typer.Option(help=f.metadata["help"])], f.default)
        for f in fields(made)
    }
    given = {
        "file": (Annotated[Path, typer.Argument(help=made.file)], Parameter.empty),
        "out": (
            Annotated[Path, typer.Option("-o", "--out", help="The file to write.")],
            Parameter.empty,
        ),
        **own,
        "overwrite": (Overwrite, False),
    }
    command.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter(n, Parameter.KEYWORD_ONLY, default=d, annotation=a)
            for n, (a, d) in given.items()
        ]
    )
    command.__annotations__ = {name: annotation for name, (annotation, _) in given.items()}
    return command


for one in IMPORTERS.values():
    app.command(one.name, help=(one.__doc__ or "").split("\n\n")[0])(command_of(one))
app.command()(aiconfigurator)


def write_imported(
    imported: Imported, out: Path, *, overwrite: bool, inputs: Sequence[Path] = ()
) -> None:
    """Write an imported trace with its prompts and profile, or an imported profile alone."""
    profile_file, prompts_file = out, out.with_suffix(".prompts.jsonl")
    if imported.trace is not None:
        if not isinstance(imported.trace, ArrivalTrace):
            check_trace(imported.trace, f"trace {out}")
        if imported.profile is not None:
            profile_file = out.with_suffix(".json")
            if out == profile_file:
                raise ValueError(f"{out}: a trace's name cannot end in .json")
            free_to_write(profile_file, overwrite=overwrite, inputs=inputs)
        if imported.prompts:
            free_to_write(prompts_file, overwrite=overwrite, inputs=inputs)
    if imported.profile is not None:  # first, since it may be refused
        save_profile(imported.profile, profile_file)
    if imported.prompts:
        save_prompts(imported.prompts, prompts_file)
    if imported.trace is not None:
        write_trace(imported.trace, out)
    for note in imported.notes:
        print(note)
    if imported.prompts:
        print(f"{prompts_file}: {len(imported.prompts)} prompts, for lapsd predict")
    if imported.profile is not None:
        _print_profile(imported.profile, profile_file)


def write_trace(trace: Trace | ArrivalTrace, out: Path) -> None:
    if isinstance(trace, ArrivalTrace):
        save_arrivals(trace, out)
        span = (trace.arrival_ns[-1] - trace.arrival_ns[0]) / 1e9
        print(
            f"{out}: {len(trace)} arrivals in {span:.0f} s, {trace.rate_per_s:.3g}/s, CV of gaps"
            f" {trace.cv:.2f}"
        )
        _print_reuse(trace.prefixes, trace.prompt_tokens)
    else:
        save_trace(trace, out)
        print(
            f"{out}: {len(trace)} requests, {trace.rounds.sum()} rounds,"
            f" {trace.output_tokens.sum()} tokens"
        )
        _print_reuse(trace.prefixes, trace.prompt_tokens)


def _print_reuse(prefixes: Prefixes | None, prompt_tokens: NDArray[Any]) -> None:
    if prefixes is not None:
        print(
            f"{prefixes.reusable(prompt_tokens):.1%} of prompt tokens lie in leading blocks of"
            f" {prefixes.block} that an earlier prompt has"
        )


def _print_profile(profile: Profile, out: Path) -> None:
    if profile.kind == "imported_fit":
        batches, prompt = profile.costs.rounds, profile.costs.prefill(1_000) / 1e6
        steps = ", ".join(f"{batches[b].base_ns(0) / 1e6:.2f} ({b})" for b in sorted(batches))
        print(
            f"{out}: a decoding step takes {steps} ms at no context (requests), 1,000 prompt tokens"
            f" {prompt:.0f} ms"
        )
        return
    terms, only = profile.costs.rounds[1], profile.costs.only_draft_tokens
    parts = f"{terms.verify(1).base_ns / 1e6:.2f} ms per round"
    if only is None:
        parts += f" + {terms.draft_step.base_ns / 1e6:.2f} ms per draft token"
    error = (
        ""
        if profile.fits.request is None
        else f", median error {profile.fits.request.median_error:.1%}"
    )
    print(f"{out}: {parts}{error} (prefill and switching are not in the file: 0)")
    if only is not None:
        print(
            f"every round drafted {only} tokens, so costs per round and per draft token cannot be"
            " separated: the profile prices no other draft length"
        )
