"""The verbs `import` and `generate`: traces and arrivals from public files, and from a model of acceptance."""

from collections.abc import Callable
from dataclasses import fields, replace
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from traces import (
    IMPORTERS,
    ArrivalTrace,
    Importer,
    Profile,
    Trace,
    borrow_acceptance,
    fit_acceptance,
    load_arrivals,
    load_trace,
    save_arrivals,
    save_profile,
    save_trace,
)
from traces import generate as make

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
        made = replace(made, provenance=made.provenance.noting(lengths=public.source))
    _write(made, out)


def command_of(made: type[Importer]) -> Callable[..., None]:
    """The command of an importer: a file, where to write, and the importer's own options."""

    def command(file: Path, out: Path, overwrite: bool, **options: Any) -> None:
        _free_to_write(out, overwrite=overwrite)
        imported = made(**options).read(file)
        if imported.profile is not None:
            profile_file = out.with_suffix(".json")
            if out == profile_file:
                raise ValueError(f"{out}: a trace's name cannot end in .json")
            _free_to_write(profile_file, overwrite=overwrite)
        _write(imported.trace, out)
        for note in imported.notes:
            print(note)
        if imported.profile is not None:
            _write_profile(imported.profile, profile_file)

    own = {f.name: (Annotated[f.type, typer.Option(help=f.metadata["help"])], f.default) for f in fields(made)}
    given = {
        "file": (Annotated[Path, typer.Argument(help=made.file)], Parameter.empty),
        "out": (Annotated[Path, typer.Option("-o", "--out", help="What to write.")], Parameter.empty),
        **own,
        "overwrite": (Overwrite, False),
    }
    command.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(n, Parameter.KEYWORD_ONLY, default=d, annotation=a) for n, (a, d) in given.items()]
    )
    command.__annotations__ = {name: annotation for name, (annotation, _) in given.items()}
    return command


for one in IMPORTERS.values():
    importer.command(one.name, help=(one.__doc__ or "").split("\n\n")[0])(command_of(one))


def _free_to_write(*files: Path, overwrite: bool) -> None:
    for path in files:
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists already: choose another name or give --overwrite")
    if not files[0].parent.is_dir():
        raise ValueError(f"{files[0]}: there is no folder {files[0].parent}")


def _write(trace: Trace | ArrivalTrace, out: Path) -> None:
    if isinstance(trace, ArrivalTrace):
        save_arrivals(trace, out)
        span = (trace.arrival_ns[-1] - trace.arrival_ns[0]) / 1e9
        print(f"{out}: {len(trace)} arrivals in {span:.0f} s, {trace.rate_per_s:.3g}/s, CV of gaps {trace.cv:.2f}")
    else:
        save_trace(trace, out)
        print(f"{out}: {len(trace)} requests, {trace.rounds.sum()} rounds, {trace.output_tokens.sum()} tokens")


def _write_profile(profile: Profile, out: Path) -> None:
    save_profile(profile, out)
    terms, only = profile.costs.rounds[1], profile.costs.only_draft_tokens
    parts = f"{terms.verify(1).base_ns / 1e6:.2f} ms a round"
    if only is None:
        parts += f" + {terms.draft_step.base_ns / 1e6:.2f} ms a draft token"
    error = "" if profile.fits.request is None else f", median error {profile.fits.request.median_error:.1%}"
    print(f"{out}: {parts}{error} (prefill and switching are not in the file: 0)")
    if only is not None:
        print(f"every round drafted {only} tokens, so that rounds and draft tokens cannot be told apart: the profile "
              "prices no other draft length")  # fmt: skip
