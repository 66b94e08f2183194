"""Replay a trace at another draft length: same outputs, other rounds.

Given a request's output, the acceptance of a proposal at a position does not depend on where rounds
begin. In greedy decoding, a proposal is accepted if the draft's choice equals the output's token.
In sampling, a token y of the output was an accepted proposal with probability min(1, q(y) / p(y)),
where q is the draft's and p the target's distribution. At most one round tests a position, so one
random draw per position suffices.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.trace import Trace


def at_draft_length(trace: Trace, n: int, rng: np.random.Generator) -> Trace:
    """Return `trace` as if every round had drafted `n` tokens.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    n : int
        Draft tokens per round, at most 1,000. Ordinary decoding, 0, works for any trace, since it
        needs no knowledge of proposals.
    rng : np.random.Generator
        Draws the accepted proposals, if the trace has probabilities other than 0 and 1.

    Raises
    ------
    ValueError
        If `n` is out of range, or is not 0 and the trace holds neither `accept_prob` nor
        `acceptable`.

    Examples
    --------
    >>> import lapsd
    >>> import numpy as np
    >>> trace = lapsd.load_trace("reference")
    >>> longer = lapsd.at_draft_length(trace, 8, np.random.default_rng(0))
    >>> bool(longer.acceptance.mean() < trace.acceptance.mean())
    True
    >>> int(longer.drafted.max())
    8
    """
    if not 0 <= n <= 1_000:
        raise ValueError(f"draft tokens {n}: must be between 0 and 1000")
    runs = (
        accepted_runs(trace, rng) if n else np.zeros(int(trace.output_tokens.sum()), dtype=np.int64)
    )
    accepted = [rounds_over(runs[a:b].tolist(), n) for a, b in pairwise(trace.output_offsets)]
    rounds = np.array([len(a) for a in accepted], dtype=np.int64)
    flat = np.array([a for request in accepted for a in request], dtype=np.int64)
    return replace(
        trace,
        offsets=np.append(0, np.cumsum(rounds)).astype(np.int64),
        drafted=np.full(len(flat), n, dtype=np.int64),
        accepted=flat,
        provenance=trace.provenance.noting(replayed_at_draft_tokens=n),
    )


def accepted_runs(trace: Trace, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return, per output position, how many proposals from it on are accepted in a row.

    A run ends at the end of the output.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    rng : np.random.Generator
        Draws the accepted proposals, if the trace has probabilities other than 0 and 1.

    Raises
    ------
    ValueError
        If the trace holds neither `accept_prob` nor `acceptable`.

    Examples
    --------
    >>> import lapsd
    >>> import numpy as np
    >>> from lapsd.traces import accepted_runs
    >>> trace = lapsd.load_trace("reference")
    >>> len(accepted_runs(trace, np.random.default_rng(0))) == int(
    ...     trace.output_tokens.sum()
    ... )
    True
    """
    if trace.accept_prob is None:
        if trace.acceptable is None:
            raise ValueError(
                "the trace cannot be replayed at another draft length: it holds no 'accept_prob'"
            )
        return trace.acceptable
    accepted = rng.random(len(trace.accept_prob)) < trace.accept_prob
    stop = np.where(accepted, len(accepted), np.arange(len(accepted)))
    ends = np.repeat(trace.output_offsets[1:], trace.output_tokens)
    next_stop = np.minimum.accumulate(stop[::-1])[::-1]
    return np.minimum(next_stop, ends) - np.arange(len(accepted))


def rounds_over(runs: Sequence[int], n: int) -> list[int]:
    """Return the accepted tokens of each round of one output, if rounds draft `n` tokens.

    Parameters
    ----------
    runs : per output position, how many proposals from it on are accepted in a row.
    """
    position, accepted = 0, []
    while position < len(runs):
        accepted.append(min(runs[position], n))
        position += accepted[-1] + 1
    return accepted
