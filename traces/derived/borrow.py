"""Acceptance for requests with known lengths, copied from recorded requests of similar length."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.invariants import check_lengths
from lapsd.traces.provenance import Provenance
from lapsd.traces.trace import Trace

NEIGHBOURS = 10


def borrow_acceptance(
    trace: Trace,
    prompt_tokens: NDArray[np.int64],
    output_tokens: NDArray[np.int64],
    *,
    seed: int = 0,
) -> Trace:
    """Return requests of the given lengths, each with the rounds of a recorded request.

    For each request, the recorded request is drawn from the `NEIGHBOURS` requests with the nearest
    log output length. Its rounds are used from the first one on, and repeat if the given output is
    longer.

    Parameters
    ----------
    trace : Trace
        The recorded requests.
    prompt_tokens, output_tokens : int64 array
        Lengths, (N,) each; prompts at least 0, outputs at least 1.
    seed : int, default 0
        Seed of the random numbers, at least 0.

    Raises
    ------
    ValueError
        If a length is out of bounds.

    Examples
    --------
    >>> import lapsd
    >>> import numpy as np
    >>> from lapsd.traces import borrow_acceptance
    >>> lengths = np.array([40, 80, 400])
    >>> trace = borrow_acceptance(lapsd.load_trace("reference"), lengths, lengths)
    >>> trace.output_tokens
    array([ 40,  80, 400])
    """
    check_lengths("lengths", prompt_tokens, output_tokens)
    rng = np.random.default_rng([seed, 6])
    by_length = np.argsort(trace.output_tokens, kind="stable")
    known, logs = np.log(trace.output_tokens[by_length]), np.log(np.maximum(output_tokens, 1))
    near = min(NEIGHBOURS, len(trace))
    first = np.clip(np.searchsorted(known, logs) - near // 2, 0, len(trace) - near)
    lenders = by_length[first + rng.integers(near, size=len(logs))]
    drafted, accepted, rounds = [], [], []
    for lender, length in zip(lenders.tolist(), output_tokens.tolist(), strict=True):
        span = trace.rounds_of(lender)
        done = np.cumsum(trace.accepted[span] + 1)
        times, left = divmod(length, int(done[-1]))
        more = int(np.searchsorted(done, left)) + 1 if left else 0
        taken = np.append(np.tile(np.arange(len(done)), times), np.arange(more)) + span.start
        drafted.append(trace.drafted[taken])
        accepted.append(trace.accepted[taken])
        if left:  # the end of the output cuts the last round
            accepted[-1][-1] = min(
                accepted[-1][-1], left - (int(done[more - 2]) if more > 1 else 0)
            )
        rounds.append(len(taken))
    return replace(
        trace,
        request_id=[f"{trace.request_id[r]}-{i}" for i, r in enumerate(lenders.tolist())],
        dataset=[trace.dataset[r] for r in lenders.tolist()],
        prompt_tokens=np.asarray(prompt_tokens, dtype=np.int64),
        output_tokens=np.asarray(output_tokens, dtype=np.int64),
        offsets=np.append(0, np.cumsum(rounds)).astype(np.int64),
        drafted=np.concatenate(drafted),
        accepted=np.concatenate(accepted),
        predictions={},
        acceptable=None,
        accept_prob=None,
        draft_prob=None,
        prefixes=None,
        provenance=Provenance(
            source=(
                f"{len(lenders)} requests of given lengths, with rounds of recorded ones about as"
                f" long: {trace.provenance.source or 'a trace'}"
            ),
            notes={"borrowed": {"seed": seed, "neighbours": near}},
        ),
    )
