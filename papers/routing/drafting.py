"""What does a draft policy gain under each router and order?"""

from typing import Any

import pandas as pd

from lapsd.papers.differences import columns, interval_of, percent, points
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Figure, Table, judged
from lapsd.papers.routing.decisions import how, panels, short
from lapsd.papers.routing.fixed import (
    DRAFT_NAMES,
    FCFS,
    FIXED,
    GOODPUT,
    JSQ,
    LP_SRPT,
    PRICED,
    RANDOM,
    SAME,
    derives,
)
from lapsd.papers.routing.matrix import matrix, needs
from lapsd.papers.words import change, signed
from lapsd.sim.experiment.statistics import Interval
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.figures.style import NAMES

UNDER = ((RANDOM, FCFS), (RANDOM, LP_SRPT), (JSQ, FCFS), (JSQ, LP_SRPT))
RULES = (GOODPUT, PRICED)


def find(evidence: Evidence) -> Tables:
    """Compare the draft policies with the fixed length by cell, router and order.

    One row per cell and draft policy, in percent: `ROUTER ORDER` (above the fixed length under
    these) and `change` (in points: under jsq and LP-SRPT, less under random routing and FCFS).
    """
    rows = []
    for cell, latency in matrix(evidence):
        for drafts in RULES:
            row: dict[str, Any] = cell._asdict() | {"drafts": drafts, "seeds": len(latency)}
            for router, order in UNDER:
                own = percent(latency, (router, order, drafts), (router, order, FIXED))
                row |= columns(f"{router} {order}", own)
            rows.append(row | columns("change", changed(latency, drafts)))
    return {"drafts": pd.DataFrame(rows)}


def changed(latency: Any, drafts: str) -> Interval:
    """Return how the draft policy's gain differs between the last and the first of `UNDER`.

    In percentage points, paired by seed.
    """
    after, before = (
        pd.DataFrame(
            {"own": latency[router, order, drafts], "fixed": latency[router, order, FIXED]}
        )
        for router, order in (UNDER[-1], UNDER[0])
    )
    return points(after, before, "own", "fixed")


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim for priced drafts, by equivalence within `SAME` percentage points.

    It holds if the interval of the change lies within in all cells, and in part if in at least
    half of them.
    """
    rows = tables["drafts"]
    own = rows[rows["drafts"] == PRICED]
    same = own[(own["change_low"] > -SAME) & (own["change_high"] < SAME)]
    differs = own[(own["change_low"] > 0) | (own["change_high"] < 0)]
    findings = [_in_words(rows, drafts) for drafts in RULES]
    findings.append(
        "Priced drafts, change of the gain in points from random routing and FCFS to jsq and"
        " LP-SRPT: "
        + "; ".join(
            f"b = {r['batch']}, {r['servers']} servers, load {r['load']:g}:"
            f" {change(interval_of(r, 'change')).replace(' %', '')}"
            for r in own.to_dict("records")
        )
        + "."
    )
    return Claim(
        "The gain of a draft policy does not depend on router and order",
        "Our own question.",
        f"the same within {SAME:g} points in {len(same)} of {len(own)} cells",
        findings,
        judged(len(same), len(own)),
        f"The 95 % interval of the change of the gain lies within ± {SAME:g} points in"
        f" {len(same)} of {len(own)} cells; the change is significantly different from 0 in"
        f" {len(differs)}.",
        _table(rows),
    )


def _in_words(rows: pd.DataFrame, drafts: str) -> str:
    own = rows[rows["drafts"] == drafts]
    parts = []
    for router, order in UNDER:
        name = f"{router} {order}"
        parts.append(
            f"under {router} and {NAMES[order]} {signed(own[name].min())} to"
            f" {signed(own[name].max())} %, faster in {int((own[f'{name}_high'] < 0).sum())} of"
            f" {len(own)} cells, slower in {int((own[f'{name}_low'] > 0).sum())}"
        )
    return f"{DRAFT_NAMES[drafts]} above {DRAFT_NAMES[FIXED]}: {'; '.join(parts)}."


def _table(rows: pd.DataFrame) -> Table:
    names = [f"{router} {order}" for router, order in UNDER]
    body = [
        [
            str(r["batch"]),
            str(r["servers"]),
            f"{r['load']:g}",
            DRAFT_NAMES[r["drafts"]],
            *(short(r, name) for name in (*names, "change")),
        ]
        for r in rows.to_dict("records")
    ]
    headings = [f"{router}, {NAMES[order]}" for router, order in UNDER]
    return Table(
        ["batch", "servers", "load", "drafts", *headings, "change, points"],
        body,
        f"Mean latency above that of {DRAFT_NAMES[FIXED]} under the same router and order, %, and"
        " the change from the first to the last of them, ± half of the 95 % interval.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 3."""
    rows = tables["drafts"]
    rows = rows[rows["drafts"] == PRICED]
    shown = [
        rows.assign(
            panel=panels(rows),
            line=f"{router}, {NAMES[order]}",
            x=rows["load"],
            value=rows[f"{router} {order}"],
            high=rows[f"{router} {order}_high"],
        )
        for router, order in UNDER
    ]
    caption = (
        f"Simulated: mean latency of priced drafts above {DRAFT_NAMES[FIXED]}, by load, one line"
        " per router and order, one panel per batch size b and number of servers; below 0 the"
        " draft policy gains, and lines that coincide mean that router and order do not matter for"
        f" it. Each row has its own axis. {how(evidence.size)}"
        f" {evidence.inputs.costs}"
    )
    return [
        Figure(
            3,
            "Draft policies under routers and orders",
            caption,
            lambda: plot_panels(pd.concat(shown), "load", "priced vs. fixed, %", by_row=True),
        )
    ]


QUESTION = Question("draft policies", find, say, draw, needs, derives)
