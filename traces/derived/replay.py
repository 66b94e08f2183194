"""The same outputs at another draft length: what n tokens a round would have drafted and accepted.

Given a request's output, whether a proposal is accepted at a position does not depend on where
rounds begin: when decoding greedily it is whether the draft's own choice is the output's token;
when sampling, a token y of the output was an accepted proposal with probability min(1, q(y) /
p(y)), q the draft's and p the target's distribution. A position is tested in one round at most, so
that one draw a position suffices.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.trace import Trace


def at_draft_length(trace: Trace, n: int, rng: np.random.Generator) -> Trace:
    """`trace` as if every round had drafted `n` tokens.

    Parameters
    ----------
    n : draft tokens a round, to 1,000; 0 is ordinary decoding, of any trace: nothing has to be
        known of proposals.
    rng : decides which proposals are accepted, where the trace holds probabilities other than 0 and
        1.

    Raises
    ------
    ValueError
        If `n` is out of range, or is not 0 and the trace holds neither `accept_prob` nor
        `acceptable`.
    """
    if not 0 <= n <= 1_000:
        raise ValueError(f"draft tokens {n}: must be between 0 and 1000")
    runs = _runs(trace, rng) if n else np.zeros(int(trace.output_tokens.sum()), dtype=np.int64)
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


def _runs(trace: Trace, rng: np.random.Generator) -> NDArray[np.int64]:
    """Per output position, how many proposals from there on are accepted in a row, to the end of
    the output.
    """
    if trace.accept_prob is None:
        if trace.acceptable is None:
            raise ValueError(
                "the trace cannot be replayed at another draft length: it holds no 'accept_prob'"
            )
        return trace.acceptable
    stands = rng.random(len(trace.accept_prob)) < trace.accept_prob
    stop = np.where(stands, len(stands), np.arange(len(stands)))
    ends = np.repeat(trace.output_offsets[1:], trace.output_tokens)
    next_stop = np.minimum.accumulate(stop[::-1])[::-1]
    return np.minimum(next_stop, ends) - np.arange(len(stands))


def rounds_over(runs: Sequence[int], n: int) -> list[int]:
    """Accepted tokens of each round over one output, when rounds draft `n` tokens.

    Parameters
    ----------
    runs : per output position, how many proposals from there on are accepted in a row.
    """
    position, accepted = 0, []
    while position < len(runs):
        accepted.append(min(runs[position], n))
        position += accepted[-1] + 1
    return accepted
