"""The verb `generate`: traces of any size with the acceptance of a recorded trace."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lapsd.cli.importing import write_trace
from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import Overwrite, free_to_write, verb
from lapsd.traces import (
    Provenance,
    borrow_acceptance,
    fit_acceptance,
    generate as make,
    load_arrivals,
    load_trace,
    ordinary_decoding,
)
from lapsd.traces.derived.generate import check_numbers
from lapsd.traces.derived.sessions import Sessions, in_sessions
from lapsd.traces.invariants import check_lengths

SESSION_OPTIONS = ("turns", "interleaved", "system_prompts", "system_tokens", "prefix_block")
app = verb()


@app.command()
def generate(
    out: Annotated[Path, typer.Option("-o", "--out", help="The trace to write.")],
    source: Annotated[
        str, typer.Option("--trace", help="The recorded trace, or 'reference' for the bundled one.")
    ] = "reference",
    requests: Annotated[
        int | None, typer.Option(help="Number of requests [default: 1000, or all in --lengths].")
    ] = None,
    sessions: Annotated[
        int | None,
        typer.Option(help="Number of sessions, whose turns extend a prompt; without: none."),
    ] = None,
    turns: Annotated[int, typer.Option(help="Turns of each session.")] = Sessions.turns,
    interleaved: Annotated[
        int, typer.Option(help="Sessions that take turns with each other.")
    ] = Sessions.interleaved,
    system_prompts: Annotated[
        int, typer.Option(help="Different system prompts of the sessions.")
    ] = Sessions.system_prompts,
    system_tokens: Annotated[
        int, typer.Option(help="Tokens of each system prompt.")
    ] = Sessions.system_tokens,
    prefix_block: Annotated[
        int, typer.Option(help="Tokens of each block of a prompt that has a hash.")
    ] = Sessions.block,
    lengths: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Arrivals (lapsd import azure or mooncake) whose prompt and output lengths to take."
            )
        ),
    ] = None,
    acceptance: Annotated[
        str,
        typer.Option(
            help=(
                "fitted: from a model fitted to the trace; recorded: its rounds, by output length; "
                "none: ordinary decoding, without drafts."
            )
        ),
    ] = "fitted",
    spread: Annotated[
        float,
        typer.Option(
            help="Factor on the spread of acceptance between requests (logits) of a fitted model."
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same trace.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make a trace of any size with the acceptance of a recorded trace."""
    if acceptance not in ("fitted", "recorded", "none"):
        raise ValueError(f"--acceptance {acceptance}: must be fitted, recorded or none")
    if acceptance != "fitted" and (lengths is None or spread != 1):
        left = (
            "leaves the spread as it was recorded" if acceptance == "recorded" else "has no spread"
        )
        raise ValueError(f"--acceptance {acceptance}: needs --lengths, and {left}")
    if acceptance == "none":
        refuse_ignored("with --acceptance none", "source", "seed", "spread")
    elif acceptance == "recorded":
        refuse_ignored("with --acceptance recorded", "spread")
    how = Sessions(turns, interleaved, system_prompts, system_tokens, prefix_block)
    if sessions is None:
        refuse_ignored("without --sessions", *SESSION_OPTIONS)
    else:
        _check_sessions(sessions, how, given=lengths is not None or requests is not None)
        requests = sessions * turns
    check_numbers(requests, spread, seed)
    free_to_write(out, overwrite=overwrite, inputs=(source, lengths))
    trace = load_trace(source)
    if lengths is None:
        made = make(
            trace, fit_acceptance(trace), requests=requests or 1_000, spread=spread, seed=seed
        )
        made = made if sessions is None else in_sessions(made, how)
    else:
        public = load_arrivals(lengths)
        some = slice(requests)
        prompts, outputs = public.prompt_tokens[some], public.output_tokens[some]
        check_lengths(f"arrivals {lengths}", prompts, outputs)
        if requests is not None and requests > len(public):
            raise ValueError(f"--requests {requests}: {lengths} holds {len(public)}")
        if acceptance == "fitted":
            made = make(
                trace,
                fit_acceptance(trace),
                prompt_tokens=prompts,
                output_tokens=outputs,
                spread=spread,
                seed=seed,
            )
        elif acceptance == "none":
            made = ordinary_decoding(
                prompts, outputs, provenance=Provenance(source=f"lengths of {public.source}")
            )
        else:
            made = borrow_acceptance(trace, prompts, outputs, seed=seed)
        prefixes = public.prefixes
        if prefixes is not None:
            prefixes = prefixes.take(np.arange(len(prompts)))
        noted = made.provenance.noting(lengths=public.source)
        made = replace(made, provenance=noted, prefixes=prefixes)
    write_trace(made, out)


def _check_sessions(sessions: int, how: Sessions, *, given: bool) -> None:
    """Check the number of sessions; `given` says whether requests or lengths were given, too."""
    if given:
        raise ValueError(
            f"--sessions {sessions}: makes sessions x turns requests, so that --requests and"
            " --lengths do not apply"
        )
    if sessions < 1:
        raise ValueError(f"--sessions {sessions}: must be at least 1")
    if not how.system_tokens:
        refuse_ignored("without --system-tokens", "system_prompts")
