"""One queue for all servers: what does it cost to commit each request when it arrives?"""

from collections.abc import Mapping

import pandas as pd

from lapsd.papers.differences import columns, percent
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Figure, Table, judged
from lapsd.papers.routing import matrix
from lapsd.papers.routing.decisions import how, short
from lapsd.papers.routing.fixed import (
    FCFS,
    FIXED,
    JSQ,
    LEAST_WORK,
    LP_SRPT,
    RANDOM,
    SAME,
    cells,
    derives,
    high_loads,
    latencies,
    later_servers,
    sweeps,
)
from lapsd.papers.words import signed
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

ROUTERS = (RANDOM, JSQ, LEAST_WORK)
ORDERS = (FCFS, LP_SRPT)
PAIRS = [(order, FIXED) for order in ORDERS]
CENTRAL = "one queue"


def needs(inputs: Inputs, size: Size) -> Mapping[str, Sweep]:
    """Return sweeps of one queue, and the matrix, for each batch size and number of servers."""
    one = sweeps(
        "central",
        inputs,
        size,
        PAIRS,
        later_servers(size),
        dispatch="central",
        load=high_loads(size),
    )
    return {**matrix.needs(inputs, size), **one}


def find(evidence: Evidence) -> Tables:
    """Compare routers with one queue, by cell and order.

    The column of a router has its mean latency above that of one queue, in percent.
    """
    rows = []
    committed = dict(matrix.matrix(evidence))
    for cell, some in cells(evidence, "central"):
        one = latencies(some.assign(router=CENTRAL), PAIRS)
        for order in ORDERS:
            row = cell._asdict() | {"order": order, "seeds": len(one)}
            for router in ROUTERS:
                pair = pd.DataFrame(
                    {
                        "own": committed[cell][router, order, FIXED],
                        "one": one[CENTRAL, order, FIXED],
                    }
                )
                row |= columns(router, percent(pair, "own", "one"))
            rows.append(row)
    return {"central": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim for jsq, by the upper ends of the intervals.

    It holds if each is below `SAME` percent, and in part if at least half are.
    """
    rows = tables["central"]
    near = rows[rows[f"{JSQ}_high"] < SAME]
    faster = rows[rows[f"{JSQ}_high"] < 0]
    return Claim(
        f"Committing requests to servers by jsq costs less than {SAME:g} %",
        "Our own question: jsq against one queue from which servers take requests by the same"
        " order.",
        f"below {SAME:g} % in {len(near)} of {len(rows)} cells",
        [_in_words(rows, router) for router in ROUTERS],
        judged(len(near), len(rows)),
        f"By the 95 % interval jsq is less than {SAME:g} % above one queue in {len(near)} of"
        f" {len(rows)} cells and orders; in {len(faster)} it is significantly faster.",
        _table(rows),
    )


def _in_words(rows: pd.DataFrame, router: str) -> str:
    parts = []
    for (batch, order), some in rows.groupby(["batch", "order"], sort=False):
        parts.append(
            f"b = {batch}, {NAMES[str(order)]}: {signed(some[router].min())} to"
            f" {signed(some[router].max())} %, slower in {int((some[f'{router}_low'] > 0).sum())}"
            f" of {len(some)} cells, faster in {int((some[f'{router}_high'] < 0).sum())}"
        )
    return f"{router} above one queue. {'; '.join(parts)}."


def _table(rows: pd.DataFrame) -> Table:
    body = [
        [
            str(r["batch"]),
            str(r["servers"]),
            f"{r['load']:g}",
            NAMES[r["order"]],
            *(short(r, router) for router in ROUTERS),
        ]
        for r in rows.to_dict("records")
    ]
    return Table(
        ["batch", "servers", "load", "order", *ROUTERS],
        body,
        "Mean latency above that of one queue with the same order, %, ± half of the 95 % interval.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 6."""
    rows = tables["central"]
    shown = [
        rows.assign(
            panel=[
                f"b = {b}, load {x:g}" for b, x in zip(rows["batch"], rows["load"], strict=True)
            ],
            line=[f"{router}, {NAMES[order]}" for order in rows["order"]],
            x=rows["servers"],
            value=rows[router],
            high=rows[f"{router}_high"],
        )
        for router in (JSQ, LEAST_WORK)
    ]
    lines = pd.concat(shown).sort_values(["batch", "load"], kind="stable")
    caption = (
        "Simulated: mean latency of routers above that of one queue with the same order, by number"
        " of servers (logarithmic), one panel per batch size b and load; above 0 committing early"
        f" costs. {how(evidence.size)} {evidence.inputs.costs}"
    )
    return [
        Figure(
            6,
            "One queue",
            caption,
            lambda: plot_panels(lines, "servers", "mean latency vs. one queue, %", log=True),
        )
    ]


QUESTION = Question("one queue", find, say, draw, needs, derives)
