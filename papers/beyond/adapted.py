"""The paper's second open question: does a K that adapts to the queue beat the best fixed K?"""

import pandas as pd

from lapsd.papers.differences import percent, percent_of, selected
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import PREDICTOR, REQUESTS, sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import change
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

LOADS = ("0.5", "0.65", "0.8", "0.95")
DEFAULT = "laps-sd"
STATIC = (
    *(DEFAULT if k == 4 else f"laps-sd:K={k}" for k in range(1, 9)),
    *("laps-sd:follow=true" if k == 4 else f"laps-sd:K={k},follow=true" for k in range(1, 9)),
)
PRIMARY = "laps-sd-adapted"
RULES = {
    PRIMARY: "K by number of active requests",
    "laps-sd-adapted:rule=quantiles": "thresholds at quantiles of past times",
    "laps-sd-adapted:rule=both": "K by active requests, and thresholds at quantiles",
}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of every fixed K and every rule, over loads."""
    return {"adapted": sweep([*STATIC, *RULES, "kernel-gittins"], size.queues, load=list(LOADS))}


def find(evidence: Evidence) -> Tables:
    """Compare each rule with the best fixed K, in percent, by load.

    The best K is selected on every second seed, and the comparison is on the remaining seeds.
    """
    rows = []
    for load, group in evidence.records["adapted"].groupby("load"):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        best = selected(table, list(STATIC), "laps-sd").policy
        fresh = table.iloc[1::2]
        for policy in [*RULES, "laps-sd", "kernel-gittins"]:
            rows.append((load, policy, best, *percent(fresh, policy, best), len(fresh)))
    return {
        "adapted": pd.DataFrame(
            rows, columns=["load", "policy", "best", "percent", "low", "high", "seeds"]
        )
    }


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the primary rule: K by the number of active requests.

    It holds if that rule is significantly faster than the best fixed K at every load, and in part
    if it is at at least half of the loads and significantly slower at none. The other rules are
    secondary.
    """
    rows = tables["adapted"]
    of = {policy: rows[rows["policy"] == policy] for policy in RULES}
    wins = {p: int((some["high"] < 0).sum()) for p, some in of.items()}
    losses = {p: int((some["low"] > 0).sum()) for p, some in of.items()}
    findings = [
        "At each load the best fixed K of 1 to 8 is selected on half of the seeds, and the rules"
        f" are compared with it on the other half ({int(rows['seeds'].max())} seeds, {REQUESTS}"
        f" requests, predicted lengths {PREDICTOR}). Each fixed K is tried with the queue of a"
        " perceptible request fixed once, and with a queue that follows T̃, as under the rules. "
        + " ".join(
            f"The rule “{RULES[p]}” is significantly faster than the best fixed K at {wins[p]} of"
            f" {rows['load'].nunique()} loads, and significantly slower at {losses[p]}."
            for p in RULES
        )
    ]
    table = Table(
        ["load", "best K", *RULES.values(), "K = 4", NAMES["kernel-gittins"]],
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
        "Difference in mean latency to LAPS-SD with the best fixed K at that load, with 95 %"
        " intervals.",
    )
    won, lost, loads = wins[PRIMARY], losses[PRIMARY], rows["load"].nunique()
    return Claim(
        "A K that adapts to the queue beats the best fixed K",
        "An open question of the paper, in which K is fixed.",
        f"K by active requests: faster at {won} of {loads} loads, slower at {lost}",
        findings,
        HOLDS if won == loads else PART if 2 * won >= loads and not lost else NOT,
        f"The primary rule is “{RULES[PRIMARY]}”: it is significantly faster than the best fixed K"
        f" at {won} of {loads} loads, and significantly slower at {lost}. The other rules are"
        " secondary, without a verdict.",
        table,
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 6."""
    rows = tables["adapted"]
    shown = rows[rows["policy"].isin(list(RULES))]
    shown = shown.assign(
        panel="", line=shown["policy"].map(RULES), x=shown["load"], value=shown["percent"]
    )
    caption = (
        "Simulated: difference in mean latency to LAPS-SD with the best fixed K, in percent"
        " (vertical axis), by load (horizontal axis), one line per rule; below 0 the rule is"
        f" faster. The best K at each load was selected on other seeds. {REQUESTS} requests,"
        f" {evidence.size.queues:,} seeds, 95 % intervals. {evidence.inputs.where}"
    )
    return [
        Figure(
            6,
            "A K that adapts to the queue",
            caption,
            lambda: plot_panels(shown, "load", "mean latency vs. best fixed K, %"),
        )
    ]


QUESTION = Question("a K that adapts", find, say, draw, needs)
