"""Guardrails: do they help a router where the order inside is by size?"""

from collections.abc import Mapping

import pandas as pd

from lapsd.papers.differences import columns, percent
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Table, judged
from lapsd.papers.routing import matrix
from lapsd.papers.routing.decisions import short
from lapsd.papers.routing.fixed import (
    FIXED,
    GAINS,
    JSQ,
    LEAST_WORK,
    LP_SRPT,
    RANDOM,
    ROUND_ROBIN,
    SAME,
    cells,
    derives,
    high_loads,
    latencies,
    later_servers,
    sweeps,
)
from lapsd.papers.words import signed
from lapsd.sim.sweeps.grid import Sweep

G = 2.0  # as in the simulations of arXiv 1905.03439
ROUTERS = (RANDOM, ROUND_ROBIN, JSQ, LEAST_WORK)
PAIRS = [(LP_SRPT, FIXED)]


def needs(inputs: Inputs, size: Size) -> Mapping[str, Sweep]:
    """Return sweeps of routers with guardrails, and the matrix, for each batch size and number of
    servers.
    """
    shared = {"router": list(ROUTERS), "load": high_loads(size)}
    return {
        **matrix.needs(inputs, size),
        **sweeps("guarded", inputs, size, PAIRS, later_servers(size), guardrails=G, **shared),
    }


def find(evidence: Evidence) -> Tables:
    """Compare each router with guardrails with itself without, by cell, in percent."""
    rows = []
    without = dict(matrix.matrix(evidence))
    for cell, some in cells(evidence, "guarded"):
        latency = latencies(some, PAIRS)
        row = cell._asdict() | {"seeds": len(latency)}
        for router in ROUTERS:
            key = (router, LP_SRPT, FIXED)
            pair = pd.DataFrame({"own": latency[key], "without": without[cell][key]})
            row |= columns(router, percent(pair, "own", "without"))
        rows.append(row)
    return {"guardrails": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the intervals of random routing and of jsq.

    It holds if guardrails significantly gain at least 1 % for random routing and cost jsq less than
    `SAME` percent in all cells; in part if they do both in at least half of them.
    """
    rows = tables["guardrails"]
    helped = rows[(rows[RANDOM] < GAINS) & (rows[f"{RANDOM}_high"] < 0)]
    harmless = rows[rows[f"{JSQ}_high"] < SAME]
    both = helped.index.intersection(harmless.index)
    return Claim(
        "Guardrails help random routing and do not harm jsq",
        f"Guardrails (g = {G:g}) limit how far the work of servers may differ within a range of"
        " sizes (arXiv 1905.03439). Order: LP-SRPT.",
        f"help random routing in {len(helped)} of {len(rows)} cells, cost jsq less than {SAME:g} %"
        f" in {len(harmless)}",
        [
            "Mean latency with guardrails above that without. "
            + "; ".join(
                f"{router}: {signed(rows[router].min())} to {signed(rows[router].max())} %, faster"
                f" in {int((rows[f'{router}_high'] < 0).sum())} of {len(rows)} cells, slower in"
                f" {int((rows[f'{router}_low'] > 0).sum())}"
                for router in ROUTERS
            )
            + "."
        ],
        judged(len(both), len(rows)),
        f"Guardrails significantly gain at least {-GAINS:g} % for random routing in {len(helped)}"
        f" of {len(rows)} cells; by the 95 % interval they cost jsq less than {SAME:g} % in"
        f" {len(harmless)}.",
        Table(
            ["batch", "servers", "load", *ROUTERS],
            [
                [
                    str(r["batch"]),
                    str(r["servers"]),
                    f"{r['load']:g}",
                    *(short(r, router) for router in ROUTERS),
                ]
                for r in rows.to_dict("records")
            ],
            "Mean latency with guardrails above that without, %, ± half of the 95 % interval.",
        ),
    )


QUESTION = Question("guardrails", find, say, needs=needs, derives=derives)
