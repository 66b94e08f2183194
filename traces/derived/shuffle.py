"""A trace with its rounds in random order: what is left when how acceptance develops is taken
away.
"""

from dataclasses import replace

import numpy as np

from lapsd.traces.trace import Trace


def shuffled(trace: Trace, rng: np.random.Generator) -> Trace:
    """The trace with each request's rounds in random order, but the last, which is cut at the
    output's end.

    A control: it keeps every request's length, rounds and acceptance, and nothing of how acceptance
    develops.
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
        provenance=trace.provenance.noting(shuffled="each request's rounds but the last"),
    )
