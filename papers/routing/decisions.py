"""Which of the three decisions gains most where: the router, the order, or the draft policy?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lapsd.papers.differences import columns, interval_of, percent
from lapsd.papers.inputs import Size
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.routing.fixed import (
    EACH,
    FCFS,
    FIXED,
    JSQ,
    LP_SRPT,
    PRICED,
    RANDOM,
    counts,
    derives,
)
from lapsd.papers.routing.matrix import matrix, needs
from lapsd.papers.words import change, listed, signed
from lapsd.sim.figures.panels import plot_panels

NAIVE, ALL = (RANDOM, FCFS, FIXED), (JSQ, LP_SRPT, PRICED)
DECISIONS = ("router", "order", "draft policy")
NO_LEADER = "none"  # no decision is significantly ahead of both others


def alone(decision: str) -> tuple[str, str, str]:
    """Return the combination in which this decision alone is not the simple one."""
    router, order, drafts = (
        better if name == decision else simple
        for name, simple, better in zip(DECISIONS, NAIVE, ALL, strict=True)
    )
    return router, order, drafts


def without(decision: str) -> tuple[str, str, str]:
    """Return the combination in which this decision alone is the simple one."""
    router, order, drafts = (
        simple if name == decision else better
        for name, simple, better in zip(DECISIONS, NAIVE, ALL, strict=True)
    )
    return router, order, drafts


def leader(latency: Any) -> str:
    """Return the decision that alone is significantly below the start and both other decisions."""
    for decision in DECISIONS:
        rivals = [NAIVE, *(alone(other) for other in DECISIONS if other != decision)]
        if all(percent(latency, alone(decision), rival).high < 0 for rival in rivals):
            return decision
    return NO_LEADER


def effects(latency: Any) -> dict[str, Any]:
    """Return the gain of each decision alone, the loss without it, and the leader, in a cell."""
    row: dict[str, Any] = {}
    for decision in DECISIONS:
        row |= columns(f"{decision} alone", percent(latency, alone(decision), NAIVE))
        row |= columns(f"without {decision}", percent(latency, without(decision), ALL))
    row |= columns("all three", percent(latency, ALL, NAIVE))
    return row | {
        "leader": leader(latency),
        "naive_s": float(latency[NAIVE].mean()),
        "seeds": len(latency),
    }


def find(evidence: Evidence) -> Tables:
    """Return the effects of each decision by cell: `NAME alone` (mean latency above that of random,
    FCFS and a fixed length), `without NAME` (above that of all three), `all three`, `leader`.
    """
    rows = [cell._asdict() | effects(latency) for cell, latency in matrix(evidence)]
    return {"decisions": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the leaders.

    It holds if two decisions lead, each in some cell; in part if one leads, but in at most half of
    the cells.
    """
    rows = tables["decisions"]
    leading = leaders(rows)
    open_cells = int((rows["leader"] == NO_LEADER).sum())
    parts = [f"{name} {count}" for name, count in leading.items()]
    verdict = (
        HOLDS if len(leading) > 1 else PART if leading and 2 * open_cells >= len(rows) else NOT
    )
    return Claim(
        "No decision gains most everywhere",
        "Our own question. Start: random routing, FCFS, a fixed draft length. Decisions: jsq,"
        " LP-SRPT, priced drafts.",
        f"cells of {len(rows)} that each leads: {listed([*parts, f'{NO_LEADER} {open_cells}'])}",
        [_leaders_by_batch(rows), *(_ranges(rows, decision) for decision in DECISIONS)],
        verdict,
        "A decision leads in a cell if with it alone mean latency is significantly below that with"
        " each of the others alone, and below that of the start. "
        + (f"Leaders: {listed(parts)}" if parts else "No decision leads")
        + f"; {open_cells} of {len(rows)} cells have none.",
        table_of(rows),
    )


def leaders(rows: pd.DataFrame) -> dict[str, int]:
    """Return the number of cells in which each decision leads, without numbers that are 0."""
    found = {name: int((rows["leader"] == name).sum()) for name in DECISIONS}
    return {name: count for name, count in found.items() if count}


def _leaders_by_batch(rows: pd.DataFrame) -> str:
    parts = []
    for (batch, servers), some in rows.groupby(["batch", "servers"]):
        by_load = (f"{r['load']:g} {r['leader']}" for r in some.to_dict("records"))
        parts.append(f"b = {batch}, {servers} servers: {', '.join(by_load)}")
    return f"The decision that leads, by load: {'; '.join(parts)}."


def _ranges(rows: pd.DataFrame, decision: str) -> str:
    """Return the range of a decision's gain alone, and of the loss without it, in a sentence."""
    name, left = f"{decision} alone", f"without {decision}"
    own = min(rows.to_dict("records"), key=lambda row: row[name])
    return (
        f"The {decision} alone: {signed(rows[name].min())} to {signed(rows[name].max())} %,"
        f" significantly faster than the start in {int((rows[f'{name}_high'] < 0).sum())} of"
        f" {len(rows)} cells, slower in {int((rows[f'{name}_low'] > 0).sum())}; most at b ="
        f" {own['batch']}, {own['servers']} servers, load {own['load']:g}"
        f" ({change(interval_of(own, name))}). All three but the {decision}, above all three:"
        f" {signed(rows[left].min())} to {signed(rows[left].max())} %, significantly above 0 in"
        f" {int((rows[f'{left}_low'] > 0).sum())} cells."
    )


def table_of(rows: pd.DataFrame, first: Mapping[str, str] | None = None) -> Table:
    """Return the table of all cells; `first` gives columns to put first, with headings."""
    own = dict(first or {})
    names = [f"{d} alone" for d in DECISIONS] + [f"without {d}" for d in DECISIONS] + ["all three"]
    body = [
        [
            *(str(r[name]) for name in own),
            str(r["batch"]),
            str(r["servers"]),
            f"{r['load']:g}",
            f"{r['naive_s']:.3g}",
            *(short(r, name) for name in names),
            r["leader"],
        ]
        for r in rows.to_dict("records")
    ]
    return Table(
        [*own.values(), "batch", "servers", "load", "start, s", *names, "leads"],
        body,
        "Mean latency with one decision alone and with all three above that of the start, and"
        " without one decision above that with all three, %, ± half of the 95 % interval.",
    )


def short(row: Any, name: str) -> str:
    """Return a difference in percent with half of its interval."""
    return f"{signed(row[name])} ± {row[f'{name}_high'] - row[name]:.1f}"


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 1."""
    rows = tables["decisions"]
    shown = [
        rows.assign(
            panel=panels(rows),
            line=name,
            x=rows["load"],
            value=rows[name],
            high=rows[f"{name}_high"],
        )
        for name in [*(f"{d} alone" for d in DECISIONS), "all three"]
    ]
    caption = (
        "Simulated: mean latency above that of random routing, FCFS and a fixed draft length, by"
        " load, one panel per batch size b and number of servers; below 0 the decision gains. The"
        " lowest of the three lines “alone” is the decision that gains most. Each row has its own"
        f" axis. {how(evidence.size)} {evidence.inputs.costs}"
    )
    return [
        Figure(
            1,
            "Which decision gains most",
            caption,
            lambda: plot_panels(pd.concat(shown), "load", "mean latency vs. start, %", by_row=True),
        )
    ]


def panels(rows: pd.DataFrame) -> list[str]:
    """Return the title of each row's panel."""
    pairs = zip(rows["batch"], rows["servers"], strict=True)
    return [f"b = {batch}, {servers} servers" for batch, servers in pairs]


def how(size: Size) -> str:
    """Return sentences for captions: lengths, requests and seeds."""
    return (
        f"Azure's lengths, recorded acceptances; {EACH} requests per server, the first quarter left"
        f" out; {counts(size)}; 95 % intervals, paired over seeds."
    )


QUESTION = Question("which decision gains most", find, say, draw, needs, derives)
