"""The matrix of routers, orders and draft policies that the first three questions share."""

from collections.abc import Iterator, Mapping

import pandas as pd

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Evidence
from lapsd.papers.routing.fixed import (
    FCFS,
    FIXED,
    GOODPUT,
    JSQ,
    LP_SRPT,
    ORDERS,
    PRICED,
    RANDOM,
    ROUTERS,
    SERVERS,
    Cell,
    cells,
    latencies,
    sweeps,
)
from lapsd.sim.sweeps.grid import Sweep

MATRIX, DRAFTED = "matrix", "drafted"
PAIRS = [(order, FIXED) for order in ORDERS]
WITH_DRAFTS = [(order, drafts) for order in (FCFS, LP_SRPT) for drafts in (GOODPUT, PRICED)]


def needs(inputs: Inputs, size: Size) -> Mapping[str, Sweep]:
    """Return sweeps for each batch size and number of servers: every router and order with a fixed
    draft length, and draft policies with random routing and jsq.
    """
    loads = [f"{x:g}" for x in size.loads]
    return {
        **sweeps(MATRIX, inputs, size, PAIRS, SERVERS, router=list(ROUTERS), load=loads),
        **sweeps(DRAFTED, inputs, size, WITH_DRAFTS, SERVERS, router=[RANDOM, JSQ], load=loads),
    }


def matrix(evidence: Evidence) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """Return mean latencies by seed, with a column (router, order, draft policy) for each
    combination, of each cell.
    """
    fixed, drafted = cells(evidence, MATRIX), cells(evidence, DRAFTED)
    for (cell, some), (_, more) in zip(fixed, drafted, strict=True):
        yield cell, latencies(some, PAIRS).join(latencies(more, WITH_DRAFTS))
