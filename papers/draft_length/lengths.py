"""Is a draft policy ever behind the best fixed length in hindsight, and how far is the oracle?"""

from typing import Any

import pandas as pd

from lapsd.papers.differences import percent
from lapsd.papers.draft_length.fixed import (
    CONFIDENT,
    FIXED,
    LENGTHS,
    NEAR,
    OFF,
    ORACLE,
    PRICED,
    RULES,
    SURVIVAL,
    TABLE,
    batches,
    best_fixed,
    counts,
    draft_sweep,
    latencies,
    requests,
    seeds,
)
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import listed, signed
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.sweeps.grid import Sweep

PAIRS = [("fcfs", drafts) for drafts in (OFF, *FIXED, *RULES, ORACLE)]
SHOWN = [*RULES, ORACLE]
DRAWN = (TABLE, "goodput", "gated", SURVIVAL, CONFIDENT, PRICED)


def name(batch: int) -> str:
    """Return the name of the sweep at a batch size."""
    return f"lengths-{batch}"


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of every fixed length and every draft policy for each batch size."""
    loads = [f"{x:g}" for x in size.loads]
    return {
        name(b): draft_sweep(inputs, PAIRS, b, seeds(size.map, b), load=loads)
        for b in batches(inputs)
    }


def find(evidence: Evidence) -> Tables:
    """Compare each draft policy with the best fixed length, by batch size and load.

    One row per batch size, load and policy: `best` (the fixed length with the lowest mean on these
    seeds; 0: none), `percent`, `low`, `high` (above it), `seeds`, `best_s`.
    """
    rows = []
    for batch in batches(evidence.inputs):
        for load, some in evidence.records[name(batch)].groupby("load"):
            latency = latencies(some, evidence.inputs, PAIRS)
            best = best_fixed(latency)
            for drafts in (OFF, *FIXED, *SHOWN):
                value, low, high = percent(latency, ("fcfs", drafts), best)
                rows.append(
                    {
                        "batch": batch,
                        "load": load,
                        "drafts": drafts,
                        "best": LENGTHS.get(best[1], 0),
                        "percent": value,
                        "low": low,
                        "high": high,
                        "best_s": float(latency[best].mean()),
                        "seeds": len(latency),
                    }
                )
    return {"lengths": pd.DataFrame(rows)}


def behind(rows: pd.DataFrame, drafts: str) -> pd.DataFrame:
    """Return the cells in which a policy may be more than `NEAR` percent behind."""
    return rows[(rows["drafts"] == drafts) & (rows["high"] > NEAR)]


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the upper ends of the intervals of `priced`; other policies are secondary.

    It holds if none is above `NEAR`, and in part if at most half of them are.
    """
    rows = tables["lengths"]
    cells = len(rows) // rows["drafts"].nunique()
    good = [drafts for drafts in RULES if behind(rows, drafts).empty]
    late = len(behind(rows, PRICED))
    findings = [
        (
            f"{cells} cells: batch sizes {listed([str(b) for b in rows['batch'].unique()])}, loads"
            f" {listed([f'{x:g}' for x in sorted(rows['load'].unique())])} (a load of 1 is all that"
            " the server can do at the recorded draft length), FCFS,"
            f" max(100, 15 b) requests, {counts(evidence.size)} seeds. The best fixed length is the"
            " best on the same seeds, which favours it."
        ),
        " ".join(_in_words(rows, drafts) for drafts in SHOWN),
        _best_lengths(rows),
    ]
    return Claim(
        f"A draft policy is nowhere more than {NEAR:g} % behind the best fixed length",
        "Our own aim. The best fixed length is known only in hindsight.",
        f"{RULES[PRICED]}: shown to be within {NEAR:g} % in {cells - late} of {cells} cells",
        findings,
        NOT if 2 * late > cells else PART if late else HOLDS,
        f"The primary policy is “{RULES[PRICED]}”: the upper end of its interval is at most"
        f" {NEAR:g} % in {cells - late} of {cells} cells. Secondary, without a verdict: it is at"
        f" most {NEAR:g} % in every cell for {listed([RULES[d] for d in good])}.",
        _table(rows),
    )


def _in_words(rows: pd.DataFrame, drafts: str) -> str:
    """Return a policy's range of differences, and its worst cell."""
    own = rows[rows["drafts"] == drafts]
    worst = max(own.to_dict("records"), key=lambda row: row["percent"])
    text = (
        f"{RULES.get(drafts, drafts)}: {signed(own['percent'].min())} to"
        f" {signed(own['percent'].max())} %, faster than the best fixed length in"
        f" {int((own['high'] < 0).sum())} cells, slower in {int((own['low'] > 0).sum())}"
    )
    late = len(behind(rows, drafts))
    where = f"b = {worst['batch']}, load {worst['load']:g}"
    return f"{text}; worst at {where}{f', may be > {NEAR:g} % behind in {late}' if late else ''}."


def _best_lengths(rows: pd.DataFrame) -> str:
    """Return the best fixed length by batch size and load, in a sentence."""
    parts = [
        f"b = {batch}: {', '.join(str(n) for n in some.sort_values('load')['best'])}"
        for batch, some in rows[rows["drafts"] == ORACLE].groupby("batch")
    ]
    return f"The best fixed length by load, lowest load first: {'; '.join(parts)}."


def _table(rows: pd.DataFrame) -> Table:
    body = []
    for (batch, load), some in rows.groupby(["batch", "load"], sort=True):
        by = some.set_index("drafts")
        body.append(
            [
                str(batch),
                f"{load:g}",
                f"{by['best'].iloc[0]} ({by['best_s'].iloc[0]:.3g} s)",
                *(short(by.loc[drafts]) for drafts in (OFF, *SHOWN)),
            ]
        )
    return Table(
        ["batch", "load", "best fixed length", "off", *RULES.values(), ORACLE],
        body,
        "Mean latency above that of the best fixed length, %, ± half of its 95 % interval.",
    )


def short(row: Any) -> str:
    """Return a difference in percent with half of its interval."""
    return f"{signed(row['percent'])} ± {row['high'] - row['percent']:.1f}"


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 1."""
    rows = tables["lengths"]
    shown = rows[rows["drafts"].isin(DRAWN)]
    shown = shown.assign(
        panel=[f"b = {b}" for b in shown["batch"]],
        line=shown["drafts"].map(RULES),
        x=shown["load"],
        value=shown["percent"],
    )
    caption = (
        "Simulated: mean latency of draft policies above that of the best fixed length in"
        " hindsight, in percent (vertical axis), by load (horizontal axis), one panel per batch"
        " size b; below 0 the policy is faster. The table holds the other policies and the oracle."
        f" FCFS, max(100, 15 b) requests ({requests(64)} at b = 64), 95 % intervals."
        f" {evidence.inputs.where}"
    )
    return [
        Figure(
            1,
            "Draft policies and the best fixed length",
            caption,
            lambda: plot_panels(shown, "load", "vs. best fixed length, %"),
        )
    ]


QUESTION = Question("draft lengths", find, say, draw, needs)
