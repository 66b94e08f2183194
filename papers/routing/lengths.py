"""Requests with Azure's lengths and recorded acceptances."""

from dataclasses import replace

import numpy as np

from lapsd.traces import Trace, load_arrivals, load_trace
from lapsd.traces.derived.ordinary import ordinary_decoding
from lapsd.traces.derived.replay import at_draft_length
from lapsd.traces.errors import FormatError
from lapsd.traces.provenance import Provenance

AZURE = "azure lengths"  # name of the derived trace
SOURCE = "azure-conversations"  # the bundled trace that gives the lengths
REQUESTS = 1_000
NEIGHBOURS = 10
DRAFTED = 4  # draft tokens per round where no draft policy decides
SEED = 30


def with_azure_lengths(recorded: Trace, requests: int | None = None) -> Trace:
    """Return requests with Azure's prompt and output lengths and acceptances by output position.

    Parameters
    ----------
    requests : number of requests, drawn without replacement; None: `REQUESTS`.

    Raises
    ------
    FormatError
        As `with_lengths`.
    """
    rng = np.random.default_rng(SEED)
    azure = load_trace(SOURCE)
    azure = azure.take(np.sort(rng.permutation(len(azure))[: requests or REQUESTS]))
    return with_lengths(recorded, azure, rng)


def with_arrivals_lengths(recorded: Trace, path: str, requests: int) -> Trace:
    """Return the first requests of a file of arrivals, with their hashes, and acceptances by output
    position.

    Raises
    ------
    FormatError
        As `with_lengths`.
    """
    public = load_arrivals(path)
    some = slice(requests)
    trace = ordinary_decoding(
        public.prompt_tokens[some],
        public.output_tokens[some],
        provenance=Provenance(source=public.source),
    )
    made = with_lengths(recorded, trace, np.random.default_rng(SEED))
    prefixes = public.prefixes
    return replace(made, prefixes=None if prefixes is None else prefixes.take(np.arange(len(made))))


def with_lengths(recorded: Trace, lengths: Trace, rng: np.random.Generator) -> Trace:
    """Return the requests of a trace with acceptances by output position of a recorded one.

    For each request, a recorded request is drawn from the `NEIGHBOURS` requests with the nearest
    log output length. Its acceptances by position are used from the first position on, and repeat
    if the output is longer. Rounds draft `DRAFTED` tokens.

    Raises
    ------
    FormatError
        If the trace does not hold `draft_prob` and one of `accept_prob` and `acceptable`.
    """
    accept_prob = recorded.accept_prob
    if accept_prob is None and recorded.acceptable is not None:
        accept_prob = (recorded.acceptable > 0).astype(np.float32)
    if accept_prob is None or recorded.draft_prob is None:
        raise FormatError(
            "the trace must hold draft_prob and one of accept_prob and acceptable, by position"
        )
    by_length = np.argsort(recorded.output_tokens, kind="stable")
    near = min(NEIGHBOURS, len(recorded))
    place = np.searchsorted(recorded.output_tokens[by_length], lengths.output_tokens) - near // 2
    first = np.clip(place, 0, len(recorded) - near)
    lenders = by_length[first + rng.integers(near, size=len(lengths))]
    starts = recorded.output_offsets
    positions = np.concatenate(
        [
            starts[lender] + np.arange(length) % recorded.output_tokens[lender]
            for lender, length in zip(lenders, lengths.output_tokens, strict=True)
        ]
    )
    made = replace(
        lengths,
        accept_prob=accept_prob[positions],
        draft_prob=recorded.draft_prob[positions],
        predictions={},
        provenance=Provenance(
            source=f"lengths: {lengths.provenance.source}; acceptances:"
            f" {recorded.provenance.source}"
        ),
    )
    return at_draft_length(made, DRAFTED, rng)
