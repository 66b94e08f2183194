"""The paper's second open question: K that follows the queue, against the best K that stays."""

import pandas as pd

from lapsd.papers.differences import percent, percent_of, selected
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import PREDICTOR, REQUESTS, sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import change
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.sweeps.grid import Sweep

LOADS = ("0.5", "0.65", "0.8", "0.95")
DEFAULT = "laps-sd"
STATIC = (
    *(DEFAULT if k == 4 else f"laps-sd:K={k}" for k in range(1, 9)),
    *("laps-sd:follow=true" if k == 4 else f"laps-sd:K={k},follow=true" for k in range(1, 9)),
)
RULES = {
    "laps-sd-adapted": "K by requests present",
    "laps-sd-adapted:rule=quantiles": "thresholds at quantiles of past times",
    "laps-sd-adapted:rule=both": "quantiles, as many as requests present say",
}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Every K, and every rule, by load."""
    return {"adapted": sweep([*STATIC, *RULES, "kernel-gittins"], size.queues, load=list(LOADS))}


def find(evidence: Evidence) -> Tables:
    """Each rule against the K that is best on every second seed, on the seeds between: percent, by
    load.
    """
    rows = []
    for load, group in evidence.records["adapted"].groupby("load"):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        best = selected(table, list(STATIC), "laps-sd").policy
        between = table.iloc[1::2]
        for policy in [*RULES, "laps-sd", "kernel-gittins"]:
            rows.append((load, policy, best, *percent(between, policy, best), len(between)))
    return {
        "adapted": pd.DataFrame(
            rows, columns=["load", "policy", "best", "percent", "low", "high", "seeds"]
        )
    }


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Holds if a rule is below the best static K beyond chance at some load, and above it at none;
    in part if below
    at some.
    """
    rows = tables["adapted"]
    of = {policy: rows[rows["policy"] == policy] for policy in RULES}
    wins = {p: int((some["high"] < 0).sum()) for p, some in of.items()}
    losses = {p: int((some["low"] > 0).sum()) for p, some in of.items()}
    good = [p for p in RULES if wins[p] and not losses[p]]
    findings = [
        "At each load the best K of 1 to 8, placed once or following T̃ as the rules do, is chosen"
        f" on half of the seeds and compared on the other half ({int(rows['seeds'].max())} seeds,"
        f" {REQUESTS} requests, lengths {PREDICTOR}). "
        + " ".join(
            f"{RULES[p].capitalize()}: below it beyond chance at {wins[p]} of {len(LOADS)} loads,"
            f" above it at {losses[p]}."
            for p in RULES
        )
    ]
    table = Table(
        ["load", "best K", *RULES.values(), "K = 4", "kernel-gittins"],
        [
            [
                f"{load:g}",
                str(some["best"].iloc[0]).removeprefix("laps-sd").removeprefix(":") or "K=4",
                *(
                    change(percent_of(some.set_index("policy").loc[p]))
                    for p in [*RULES, "laps-sd", "kernel-gittins"]
                ),
            ]
            for load, some in rows.groupby("load")
        ],
        "Mean latency against LAPS-SD with the best K at that load.",
    )
    won = sum(wins.values())
    return Claim(
        "K that adapts to the queue beats the best K that stays",
        "An open question of the paper (its K is static).",
        "yes" if good else "at some loads" if won else "no",
        findings,
        HOLDS if good else PART if won else NOT,
        (
            f"{RULES[good[0]].capitalize()} is never behind, and ahead at {wins[good[0]]} loads."
            if good
            else (
                "What a rule gains at one load, it loses at another."
                if won
                else "No rule tried is below the best static K beyond chance, at any load."
            )
        ),
        table,
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 6."""
    rows = tables["adapted"]
    shown = rows[rows["policy"].isin(list(RULES))]
    shown = shown.assign(
        panel="", line=shown["policy"].map(RULES), x=shown["load"], value=shown["percent"]
    )
    caption = (
        "Simulated: mean latency against LAPS-SD with the K that is best at that load on other"
        f" seeds; {REQUESTS} requests, {evidence.size.queues:,} seeds, 95 % intervals."
        f" {evidence.inputs.where}"
    )
    return [
        Figure(
            6,
            "K that follows the queue",
            caption,
            lambda: plot_panels(shown, "load", "mean latency against the best K, %"),
        )
    ]


QUESTION = Question("K that adapts", find, say, draw, needs)
