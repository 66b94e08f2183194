"""Shuffle the rounds of each request, as a control without any development of acceptance."""

from dataclasses import replace

import numpy as np

from lapsd.traces.trace import Trace


def shuffled(trace: Trace, rng: np.random.Generator) -> Trace:
    """Return the trace with the rounds of each request in random order, except the last round.

    The last round keeps its place, since the end of the output may cut it. The result keeps every
    request's length, number of rounds and acceptance, but not how acceptance develops over rounds.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    rng : np.random.Generator
        Draws the order of the rounds.

    Examples
    --------
    >>> import lapsd
    >>> import numpy as np
    >>> from lapsd.traces import shuffled
    >>> trace = lapsd.load_trace("reference")
    >>> mixed = shuffled(trace, np.random.default_rng(0))
    >>> bool((mixed.acceptance == trace.acceptance).all())
    True
    """
    keys = rng.random(len(trace.accepted))
    keys[trace.offsets[1:] - 1] = 2.0
    order = np.lexsort((keys, np.repeat(np.arange(len(trace)), trace.rounds)))
    return replace(
        trace,
        drafted=trace.drafted[order],
        accepted=trace.accepted[order],
        acceptable=None,
        accept_prob=None,
        draft_prob=None,
        provenance=trace.provenance.noting(shuffled="each request's rounds but the last"),
    )
