"""Ordinary decoding, without drafts: each round emits one token.

A request is then described by its prompt and output lengths.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.errors import FormatError
from lapsd.traces.invariants import check_lengths
from lapsd.traces.provenance import Provenance
from lapsd.traces.trace import Trace


def ordinary_decoding(
    prompt_tokens: Sequence[int] | NDArray[np.int64],
    output_tokens: Sequence[int] | NDArray[np.int64],
    *,
    request_id: Sequence[str] | None = None,
    dataset: Sequence[str] | None = None,
    provenance: Provenance | None = None,
) -> Trace:
    """Return a trace of requests decoded without a draft model, one round per output token.

    Parameters
    ----------
    prompt_tokens, output_tokens : Sequence[int] or int64 array
        Lengths, (R,) each; prompts at least 0, outputs at least 1.
    request_id, dataset : Sequence[str] or None, optional
        Names, (R,) each; by default `request-` and the row, and `all`.
    provenance : Provenance or None, optional
        Where the trace comes from.

    Raises
    ------
    FormatError
        If there are no requests, the numbers of entries differ, or a length is out of bounds.

    Examples
    --------
    >>> from lapsd.traces import ordinary_decoding
    >>> trace = ordinary_decoding([10, 20], [5, 6])
    >>> trace.rounds
    array([5, 6])
    """
    prompts, outputs = (
        np.asarray(tokens, dtype=np.int64) for tokens in (prompt_tokens, output_tokens)
    )
    source = provenance.source if provenance is not None and provenance.source else "lengths"
    many = len(outputs)
    if not many:
        raise FormatError(f"{source}: no requests")
    names = [f"request-{i}" for i in range(many)] if request_id is None else list(request_id)
    sets = ["all"] * many if dataset is None else list(dataset)
    if {len(prompts), len(names), len(sets)} != {many}:
        raise FormatError(
            f"{source}: {len(prompts)} prompts, {many} outputs, {len(names)} names and"
            f" {len(sets)} data sets: must be equally many"
        )
    check_lengths(source, prompts, outputs)
    nothing = np.zeros(int(outputs.sum()), dtype=np.int64)
    return Trace(
        request_id=names,
        dataset=sets,
        prompt_tokens=prompts,
        output_tokens=outputs,
        offsets=np.append(0, np.cumsum(outputs)),
        drafted=nothing,
        accepted=nothing.copy(),
        provenance=provenance or Provenance(),
    )
