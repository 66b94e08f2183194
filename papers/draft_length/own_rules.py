"""Do rules of our own beat survival with confidence?"""

import pandas as pd

from lapsd.papers.differences import percent
from lapsd.papers.draft_length.fixed import (
    CONFIDENT,
    PASSES,
    PRICED,
    batches,
    draft_sweep,
    latencies,
    seeds,
)
from lapsd.papers.draft_length.lengths import short
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import PREDICTOR
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import signed
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.sweeps.grid import Sweep

LOADS = ("0.5", "0.8", "1.1")
MODULE = "lapsd.papers.draft_length.rules"
OWN = {
    "survival:confidence=true,own=0.3": "with own acceptance",
    "priced:confidence=true,own=0": "priced, confidence only",
    PRICED: "priced",
    PASSES: "pass by pass",
    f"{MODULE}.ShortFirst:confidence=true": "short first",
    f"{MODULE}.Remaining:confidence=true": "remaining times",
    f"{MODULE}.ToEnd:confidence=true": "to the predicted end",
    f"{MODULE}.WhenIdle:confidence=true": "more when idle",
}
WORDS = (
    "with own acceptance: the probability of a token is 0.7 of its confidence and 0.3 of the"
    " request's own share of accepted tokens; priced: a token is worth the smoothed time of all"
    " active requests per token, with own acceptance as well, or with confidence only; pass by"
    " pass: with own acceptance, but a confidence is known only once the token is drafted; short"
    " first: tokens count by the inverse root of the request's remaining tokens; remaining times:"
    " the least sum of remaining times at the pace of the step; to the predicted end: no drafts"
    " beyond it; more when idle: one more token while no request waits"
)
PAIRS = [("fcfs", drafts) for drafts in (CONFIDENT, *OWN)]


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of all rules for each batch size."""
    return {
        f"own-{b}": draft_sweep(inputs, PAIRS, b, seeds(size.others, b), load=list(LOADS))
        for b in batches(inputs)
    }


def find(evidence: Evidence) -> Tables:
    """Compare each rule with survival with confidence, in percent, by batch size and load."""
    rows = []
    for batch in batches(evidence.inputs):
        for load, some in evidence.records[f"own-{batch}"].groupby("load"):
            latency = latencies(some, evidence.inputs, PAIRS)
            for drafts in OWN:
                against = percent(latency, ("fcfs", drafts), ("fcfs", CONFIDENT))
                rows.append((batch, load, drafts, *against, len(latency)))
    names = ["batch", "load", "drafts", "percent", "low", "high", "seeds"]
    return {"own_rules": pd.DataFrame(rows, columns=names)}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the significant differences of `priced` to survival with confidence.

    The other rules are secondary. The claim holds if `priced` is faster in every cell, and in part
    if it is faster in at least half of them and slower in none.
    """
    rows = tables["own_rules"]
    of = {drafts: rows[rows["drafts"] == drafts] for drafts in OWN}
    wins = {drafts: int((some["high"] < 0).sum()) for drafts, some in of.items()}
    losses = {drafts: int((some["low"] > 0).sum()) for drafts, some in of.items()}
    cells = len(rows) // len(OWN)
    findings = [
        f"{cells} cells (batch sizes and loads), FCFS, predicted lengths {PREDICTOR}. The rules:"
        f" {WORDS}.",
        " ".join(
            f"“{OWN[drafts]}” is significantly faster in {wins[drafts]} cells and slower in"
            f" {losses[drafts]} ({signed(some['percent'].min(), 2)} to"
            f" {signed(some['percent'].max(), 2)} %, median"
            f" {signed(some['percent'].median(), 2)} %)."
            for drafts, some in of.items()
        ),
    ]
    table = Table(
        ["batch", "load", *OWN.values()],
        [
            [
                str(batch),
                f"{load:g}",
                *(short(some.set_index("drafts").loc[drafts]) for drafts in OWN),
            ]
            for (batch, load), some in rows.groupby(["batch", "load"])
        ],
        "Mean latency above that of survival with confidence, %, ± half of its 95 % interval.",
    )
    won, lost = wins[PRICED], losses[PRICED]
    return Claim(
        "A rule of our own beats survival with confidence",
        "Our own question.",
        f"“{OWN[PRICED]}” is faster in {won} of {cells} cells, slower in {lost}",
        findings,
        HOLDS if won == cells else PART if 2 * won >= cells and not lost else NOT,
        f"The primary rule, which the first claim is judged by too, is “{OWN[PRICED]}”: it is"
        f" significantly faster in {won} of {cells} cells and significantly slower in {lost}. The"
        " other rules are secondary, without a verdict.",
        table,
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 5."""
    rows = tables["own_rules"]
    near = [d for d in OWN if rows[rows["drafts"] == d]["percent"].abs().max() <= 10]
    shown = rows[rows["drafts"].isin(near)]
    shown = shown.assign(
        panel=[f"b = {b}" for b in shown["batch"]],
        line=shown["drafts"].map(OWN),
        x=shown["load"],
        value=shown["percent"],
    )
    caption = (
        "Simulated: mean latency of our rules above that of survival with confidence, in percent"
        " (vertical axis), by load (horizontal axis), one panel per batch size b; below 0 the rule"
        " is faster. Rules that differ by more than 10 % somewhere are in the table only. FCFS, 95"
        f" % intervals. {evidence.inputs.where}"
    )
    return [
        Figure(
            5,
            "Rules of our own",
            caption,
            lambda: plot_panels(shown, "load", "vs. survival with confidence, %"),
        )
    ]


QUESTION = Question("rules of our own", find, say, draw, needs)
