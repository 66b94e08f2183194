"""Router and order: what does each gain alone, and what is left of it next to the other?"""

from typing import Any

import pandas as pd

from lapsd.papers.differences import columns, percent, product
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Figure, Table, judged
from lapsd.papers.routing.decisions import how, panels, short
from lapsd.papers.routing.fixed import (
    FCFS,
    FIXED,
    GAINS,
    JSQ,
    LAPS_SD,
    LEAST_WORK,
    LP_SRPT,
    RANDOM,
    ROUND_ROBIN,
    derives,
)
from lapsd.papers.routing.matrix import matrix, needs
from lapsd.papers.words import signed
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.figures.style import NAMES

BETTER, SIZED = (ROUND_ROBIN, JSQ, LEAST_WORK), (LP_SRPT, LAPS_SD)


def find(evidence: Evidence) -> Tables:
    """Compare each router with random routing, and each order with FCFS, by cell.

    One row per cell, router and order, in percent: `router_alone` and `router_within` (above random
    routing, under FCFS and under the order), `order_alone` and `order_within` (above FCFS, under
    random routing and under the router), `more` (both together above the product of both alone).
    """
    rows = []
    for cell, latency in matrix(evidence):
        for router in BETTER:
            for order in SIZED:
                rows.append(
                    cell._asdict()
                    | {"router": router, "order": order}
                    | effects(latency, router, order)
                    | {"seeds": len(latency)}
                )
    return {"router_and_order": pd.DataFrame(rows)}


def effects(latency: Any, router: str, order: str) -> dict[str, float]:
    """Return what a router and an order gain, alone and next to the other, in a cell."""
    base, both = (RANDOM, FCFS, FIXED), (router, order, FIXED)
    routed, ordered = (router, FCFS, FIXED), (RANDOM, order, FIXED)
    return {
        **columns("router_alone", percent(latency, routed, base)),
        **columns("router_within", percent(latency, both, ordered)),
        **columns("order_alone", percent(latency, ordered, base)),
        **columns("order_within", percent(latency, both, routed)),
        **columns("more", product(latency, both, base, ordered, routed)),
    }


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim for jsq and LP-SRPT, where each significantly gains at least 1 % alone.

    It holds if both together are significantly above the product in all such cells, in part if in
    at least half of them.
    """
    rows = tables["router_and_order"]
    own = rows[(rows["router"] == JSQ) & (rows["order"] == LP_SRPT)]
    gain = own[
        (own["router_alone"] < GAINS)
        & (own["router_alone_high"] < 0)
        & (own["order_alone"] < GAINS)
        & (own["order_alone_high"] < 0)
    ]
    less = gain[gain["more_low"] > 0]
    return Claim(
        "Router and order replace each other in part",
        "Our own question: next to a better router the order gains less, and conversely.",
        f"in {len(less)} of {len(gain)} cells in which both gain alone",
        [_routers(rows), _orders(rows)],
        judged(len(less), len(gain)),
        f"In {len(less)} of the {len(gain)} cells in which jsq and LP-SRPT alone each significantly"
        f" gain at least {-GAINS:g} %, both together are significantly above the product of what"
        " each gains alone.",
        _table(rows),
    )


def _routers(rows: pd.DataFrame) -> str:
    """Return what each router gains over random routing, under each order, in a sentence."""
    parts = []
    for router, some in rows.groupby("router", sort=False):
        under_fcfs = some[some["order"] == LP_SRPT]
        texts = [f"FCFS: {_range(under_fcfs, 'router_alone')}"] + [
            f"{NAMES[str(order)]}: {_range(own, 'router_within')}"
            for order, own in some.groupby("order", sort=False)
        ]
        parts.append(f"{router}, under {'; under '.join(texts)}")
    return f"Routers above random routing. {'. '.join(parts)}."


def _orders(rows: pd.DataFrame) -> str:
    """Return what each order gains over FCFS, under each router, in a sentence."""
    parts = []
    for order, some in rows.groupby("order", sort=False):
        random = some[some["router"] == JSQ]
        texts = [f"random: {_range(random, 'order_alone')}"] + [
            f"{router}: {_range(own, 'order_within')}"
            for router, own in some.groupby("router", sort=False)
        ]
        parts.append(f"{NAMES[str(order)]}, under {'; under '.join(texts)}")
    return f"Orders above FCFS. {'. '.join(parts)}."


def _range(rows: pd.DataFrame, name: str) -> str:
    """Return the range of a difference over cells, and how often it is significant."""
    return (
        f"{signed(rows[name].min())} to {signed(rows[name].max())} %, faster in"
        f" {int((rows[f'{name}_high'] < 0).sum())} of {len(rows)} cells, slower in"
        f" {int((rows[f'{name}_low'] > 0).sum())}"
    )


def _table(rows: pd.DataFrame) -> Table:
    names = {
        "router_alone": "router, FCFS",
        "router_within": "router, the order",
        "order_alone": "order, random",
        "order_within": "order, the router",
        "more": "above the product",
    }
    body = [
        [
            str(r["batch"]),
            str(r["servers"]),
            f"{r['load']:g}",
            r["router"],
            NAMES[r["order"]],
            *(short(r, name) for name in names),
        ]
        for r in rows.to_dict("records")
    ]
    return Table(
        ["batch", "servers", "load", "router", "order", *names.values()],
        body,
        "Mean latency of the router above random routing under FCFS and under the order, of the"
        " order above FCFS under random routing and under the router, and of both together above"
        " the product of both alone, %, ± half of the 95 % interval.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 2."""
    rows = tables["router_and_order"]
    rows = rows[(rows["router"] == JSQ) & (rows["order"] == LP_SRPT)]
    lines = {
        "router_alone": "jsq, under FCFS",
        "router_within": "jsq, under LP-SRPT",
        "order_alone": "LP-SRPT, under random",
        "order_within": "LP-SRPT, under jsq",
    }
    shown = [
        rows.assign(
            panel=panels(rows),
            line=line,
            x=rows["load"],
            value=rows[name],
            high=rows[f"{name}_high"],
        )
        for name, line in lines.items()
    ]
    caption = (
        "Simulated: mean latency of jsq above random routing, and of LP-SRPT above FCFS, each"
        " without and with the other decision, by load, one panel per batch size b and number of"
        " servers. Where a second line is nearer to 0 than the first, the decision gains less next"
        f" to the other. Each row has its own axis. {how(evidence.size)}"
        f" {evidence.inputs.costs}"
    )
    return [
        Figure(
            2,
            "Router and order",
            caption,
            lambda: plot_panels(pd.concat(shown), "load", "mean latency, %", by_row=True),
        )
    ]


QUESTION = Question("router and order", find, say, draw, needs, derives)
