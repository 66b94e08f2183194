"""Predicted work against counts: what does a router gain that knows predicted lengths?"""

from collections.abc import Mapping

import pandas as pd

from lapsd.papers.differences import columns, percent
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import PREDICTOR
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Figure, Table, judged
from lapsd.papers.routing.decisions import how, short
from lapsd.papers.routing.fixed import (
    FCFS,
    GAINS,
    JSQ,
    LEAST_WORK,
    LP_SRPT,
    NO_POLICY,
    SAME,
    SIMULATE,
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

ORACLE, SITA = "least-work-oracle", "sita"
INFORMED = (LEAST_WORK, ORACLE, SITA, SIMULATE)
PREDICTORS = {"oracle": "true lengths", PREDICTOR: "SD 0.5", "noisy:1": "SD 1"}
ORDERS = (FCFS, LP_SRPT)
PAIRS = [(order, NO_POLICY) for order in ORDERS]


def needs(inputs: Inputs, size: Size) -> Mapping[str, Sweep]:
    """Return a sweep of routers, predictors and orders for each batch size and number of
    servers.
    """
    return sweeps(
        "work",
        inputs,
        size,
        PAIRS,
        later_servers(size),
        router=[JSQ, *INFORMED],
        length_predictor=list(PREDICTORS),
        load=high_loads(size),
    )


def find(evidence: Evidence) -> Tables:
    """Compare routers that know lengths with jsq, by cell, predictor and order, in percent.

    The column of a router has its mean latency above that of jsq under the same order.
    """
    rows = []
    for cell, some in cells(evidence, "work"):
        latency = latencies(some, PAIRS, "length_predictor")
        for predictor in PREDICTORS:
            for order in ORDERS:
                base = (JSQ, order, NO_POLICY, predictor)
                row = cell._asdict() | {"predictor": predictor, "order": order}
                for router in INFORMED:
                    key = (router, order, NO_POLICY, predictor)
                    row |= columns(router, percent(latency, key, base))
                rows.append(row | {"seeds": len(latency)})
    return {"work": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim where least-work significantly gains at least 1 % over jsq under FCFS.

    Lengths are predicted with an SD of the log error of 0.5. It holds if under LP-SRPT the gain is
    below `SAME` percent by its interval in all such cells, in part if in at
    least half of them.
    """
    rows = tables["work"]
    own = rows[rows["predictor"] == PREDICTOR]
    keys = ["batch", "servers", "load"]
    under = {order: own[own["order"] == order].set_index(keys) for order in ORDERS}
    fcfs = under[FCFS]
    pays = fcfs[(fcfs[LEAST_WORK] < GAINS) & (fcfs[f"{LEAST_WORK}_high"] < 0)]
    within = under[LP_SRPT].loc[pays.index]
    stops = within[within[f"{LEAST_WORK}_low"] > -SAME]
    return Claim(
        "A router that knows predicted lengths stops paying where the order inside is by size",
        "Our own question: least-work against jsq, under FCFS and under LP-SRPT.",
        f"in {len(stops)} of {len(pays)} cells in which it pays under FCFS",
        [_in_words(rows, router) for router in INFORMED],
        judged(len(stops), len(pays)),
        f"Under FCFS least-work significantly gains at least {-GAINS:g} % over jsq in {len(pays)}"
        f" of {len(fcfs)} cells. In {len(stops)} of these its gain under LP-SRPT is below"
        f" {SAME:g} % by the 95 % interval.",
        _table(rows),
    )


def _in_words(rows: pd.DataFrame, router: str) -> str:
    """Return a router's range against jsq by order and predictor, in a sentence."""
    parts = []
    for (order, predictor), some in rows.groupby(["order", "predictor"], sort=False):
        parts.append(
            f"{NAMES[str(order)]}, {PREDICTORS[str(predictor)]}: {signed(some[router].min())} to"
            f" {signed(some[router].max())} %, faster in {int((some[f'{router}_high'] < 0).sum())}"
            f" of {len(some)} cells, slower in {int((some[f'{router}_low'] > 0).sum())}"
        )
    return f"{router} above jsq. {'; '.join(parts)}."


def _table(rows: pd.DataFrame) -> Table:
    body = [
        [
            str(r["batch"]),
            str(r["servers"]),
            f"{r['load']:g}",
            NAMES[r["order"]],
            PREDICTORS[r["predictor"]],
            *(short(r, router) for router in INFORMED),
        ]
        for r in rows.to_dict("records")
    ]
    return Table(
        ["batch", "servers", "load", "order", "lengths", *INFORMED],
        body,
        "Mean latency above that of jsq under the same order and predictor, %, ± half of the 95 %"
        " interval. least-work-oracle knows true remaining times.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 4."""
    rows, load = tables["work"], max(evidence.size.loads)
    rows = rows[rows["load"] == load]
    shown = [
        own.assign(
            panel=[f"b = {b}, {NAMES[str(order)]}" for b in own["batch"]],
            line=f"{router}, {PREDICTORS[str(predictor)]}",
            x=own["servers"],
            value=own[router],
            high=own[f"{router}_high"],
        )
        for (order, predictor), own in rows.groupby(["order", "predictor"], sort=False)
        for router in (LEAST_WORK, SIMULATE, ORACLE)
        if router == LEAST_WORK or predictor == PREDICTOR
    ]
    lines = pd.concat(shown).sort_values("batch", kind="stable")
    caption = (
        "Simulated: mean latency of routers that know lengths above that of jsq, by number of"
        f" servers (logarithmic) at load {load:g}, one panel per batch size b and order;"
        " below 0 knowing lengths pays for the router. Predicted lengths have an SD of the log"
        f" error of 0.5 or 1. {how(evidence.size)} {evidence.inputs.costs}"
    )
    return [
        Figure(
            4,
            "Predicted work against counts",
            caption,
            lambda: plot_panels(lines, "servers", "mean latency vs. jsq, %", log=True),
        )
    ]


QUESTION = Question("predicted work", find, say, draw, needs, derives)
