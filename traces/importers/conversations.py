"""Traces from texts: code that all importers of prompts and answers share.

Their files hold a list of JSON objects.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lapsd.traces.derived.ordinary import ordinary_decoding
from lapsd.traces.errors import FormatError
from lapsd.traces.files.reading import json_file
from lapsd.traces.importers.importer import Imported
from lapsd.traces.importers.token_counts import TokenCounts
from lapsd.traces.prompts import Prompt, template_of
from lapsd.traces.provenance import Provenance


class Exchange(NamedTuple):
    """A prompt and its answer."""

    request_id: str
    dataset: str
    prompt: str
    answer: str


def json_list(path: Path) -> list[Any]:
    """Return the list in a JSON file (`.gz` allowed).

    Raises
    ------
    FormatError
        If the file cannot be read, or does not hold a list of at least one entry.
    """
    document = json_file(path)
    if not isinstance(document, list) or not document:
        raise FormatError(f"{path}: not a list with at least one entry")
    return document


def imported(
    exchanges: Sequence[Exchange], path: Path, source: str, tokenizer: str, most: int
) -> Imported:
    """Return a trace of ordinary decoding, and its prompts.

    Parameters
    ----------
    most : largest number of tokens of prompt and answer together; longer exchanges are left out.
        0 keeps all.

    Raises
    ------
    FormatError
        If all exchanges are left out.
    """
    count = TokenCounts(tokenizer)
    prompts, answers = count([e.prompt for e in exchanges]), count([e.answer for e in exchanges])
    kept = [
        (exchange, prompt, answer)
        for exchange, prompt, answer in zip(exchanges, prompts, answers, strict=True)
        if prompt and answer and (not most or prompt + answer <= most)
    ]
    if not kept:
        raise FormatError(f"{path}: no prompt with an answer of at most {most} tokens together")
    notes = []
    if left_out := len(exchanges) - len(kept):
        bound = f", or more than {most} tokens together" if most else ""
        notes.append(
            f"{left_out} of {len(exchanges)} requests left out: no text in prompt or answer{bound}"
        )
    if count.estimated:
        notes.append(f"lengths are estimated: {tokenizer}")
    provenance = Provenance(
        source=source,
        imported_from=path.name,
        estimated=(f"prompt_tokens, output_tokens ({tokenizer})",) if count.estimated else (),
        missing=(
            "drafts: ordinary decoding",
            "the chat template, and the end of the answer as a token",
        ),
        notes={"tokenizer": Path(tokenizer).name if not count.estimated else tokenizer},
    )
    trace = ordinary_decoding(
        [prompt for _, prompt, _ in kept],
        [answer for *_, answer in kept],
        request_id=[e.request_id for e, *_ in kept],
        dataset=[e.dataset for e, *_ in kept],
        provenance=provenance,
    )
    texts = tuple(Prompt(e.request_id, e.prompt, template_of(e.prompt)) for e, *_ in kept)
    return Imported(trace, prompts=texts, notes=tuple(notes))


def refuse_most(most: int) -> None:
    """Raise a ValueError if a bound on tokens is out of range."""
    if not 0 <= most <= 10**7:
        raise ValueError(f"most_tokens={most}: must be between 0 and 10000000")
