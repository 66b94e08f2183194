"""Stale signals: what does a router lose whose reports are old?"""

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
    SIMULATE,
    cells,
    derives,
    high_loads,
    latencies,
    later_servers,
    sweeps,
)
from lapsd.papers.words import listed, signed
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

AGES_MS = (0.0, 10.0, 100.0, 1_000.0)
JUDGED_MS = 100.0  # age of the reports of vLLM's balancer
WEIGHTED = "weighted"
ROUTERS = (JSQ, LEAST_WORK, WEIGHTED, SIMULATE)
ORDERS = (FCFS, LP_SRPT)
PAIRS = [(order, FIXED) for order in ORDERS]


def needs(inputs: Inputs, size: Size) -> Mapping[str, Sweep]:
    """Return sweeps of routers, ages and orders, and the matrix, for each batch size and number of
    servers.
    """
    shared = {"router": list(ROUTERS), "load": high_loads(size)}
    ages = sweeps(
        "stale", inputs, size, PAIRS, later_servers(size), signal_age_ms=list(AGES_MS), **shared
    )
    return {**matrix.needs(inputs, size), **ages}


def find(evidence: Evidence) -> Tables:
    """Compare old signals with fresh ones and with random routing, by cell, router and order.

    One row per age: `stale` (mean latency above that with fresh signals) and `random` (above that
    of random routing), in percent.
    """
    rows = []
    blind = dict(matrix.matrix(evidence))
    for cell, some in cells(evidence, "stale"):
        latency = latencies(some, PAIRS, "signal_age_ms")
        for router in ROUTERS:
            for order in ORDERS:
                fresh = latency[router, order, FIXED, 0.0]
                random = blind[cell][RANDOM, order, FIXED]
                for age in AGES_MS:
                    own = pd.DataFrame(
                        {
                            "own": latency[router, order, FIXED, age],
                            "fresh": fresh,
                            "random": random,
                        }
                    )
                    rows.append(
                        cell._asdict()
                        | {"router": router, "order": order, "age_ms": age, "seeds": len(own)}
                        | columns("stale", percent(own, "own", "fresh"))
                        | columns("random", percent(own, "own", "random"))
                    )
    return {"stale": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the upper ends of the intervals at `JUDGED_MS`.

    It holds if each is below `SAME` percent, and in part if at least half are.
    """
    rows = tables["stale"]
    own = rows[rows["age_ms"] == JUDGED_MS]
    late = own[own["stale_high"] >= SAME]
    good = [router for router in ROUTERS if not (late["router"] == router).any()]
    return Claim(
        f"Signals that are {JUDGED_MS:g} ms old cost less than {SAME:g} %",
        "Our own question. The balancer of vLLM's data-parallel engines sees counts that are up to"
        " 100 ms old. A router counts what it has sent since a report.",
        f"below {SAME:g} % in {len(own) - len(late)} of {len(own)} cells",
        [_in_words(rows, router) for router in ROUTERS],
        judged(len(own) - len(late), len(own)),
        f"By the 95 % interval the cost is below {SAME:g} % in {len(own) - len(late)} of {len(own)}"
        " combinations of cell, router and order; in all of them for "
        + (listed(good) if good else "no router")
        + ".",
        _table(rows),
    )


def _in_words(rows: pd.DataFrame, router: str) -> str:
    """Return what each age costs a router, and whether it is still ahead of random routing."""
    parts = []
    own = rows[(rows["router"] == router) & (rows["age_ms"] > 0)]
    for (order, age), some in own.groupby(["order", "age_ms"]):
        parts.append(
            f"{NAMES[str(order)]}, {age:g} ms: {signed(some['stale'].min())} to"
            f" {signed(some['stale'].max())} %, slower in {int((some['stale_low'] > 0).sum())} of"
            f" {len(some)} cells, slower than random routing in"
            f" {int((some['random_low'] > 0).sum())} and faster in"
            f" {int((some['random_high'] < 0).sum())}"
        )
    return f"{router} above itself with fresh signals. {'; '.join(parts)}."


def _table(rows: pd.DataFrame) -> Table:
    body = []
    keys = ["batch", "servers", "load", "router", "order"]
    for (batch, servers, load, router, order), some in rows.groupby(keys, sort=False):
        by = some.set_index("age_ms").to_dict("index")
        body.append(
            [
                str(batch),
                str(servers),
                f"{load:g}",
                str(router),
                NAMES[str(order)],
                *(short(by[age], "stale") for age in AGES_MS[1:]),
                *(short(by[age], "random") for age in AGES_MS),
            ]
        )
    return Table(
        [
            "batch",
            "servers",
            "load",
            "router",
            "order",
            *(f"{age:g} ms" for age in AGES_MS[1:]),
            *(f"{age:g} ms, random" for age in AGES_MS),
        ],
        body,
        "Mean latency above that with fresh signals, and above that of random routing, by age of"
        " the signals, %, ± half of the 95 % interval.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 5."""
    rows, load = tables["stale"], max(evidence.size.loads)
    rows = rows[(rows["load"] == load) & (rows["order"] == FCFS) & (rows["age_ms"] > 0)]
    lines = rows.assign(
        panel=[
            f"b = {b}, {n} servers" for b, n in zip(rows["batch"], rows["servers"], strict=True)
        ],
        line=rows["router"],
        x=rows["age_ms"],
        value=rows["random"],
        high=rows["random_high"],
    )
    caption = (
        "Simulated: mean latency above that of random routing, by age of the signals (logarithmic),"
        f" one panel per batch size b and number of servers; FCFS, load {load:g}. Where"
        " a line crosses 0, old signals are no better than none."
        f" {how(evidence.size)} {evidence.inputs.costs}"
    )
    return [
        Figure(
            5,
            "Stale signals",
            caption,
            lambda: plot_panels(lines, "age, ms", "mean latency vs. random, %", log=True),
        )
    ]


QUESTION = Question("stale signals", find, say, draw, needs, derives)
