"""What does knowing acceptance buy beyond knowing length?"""

import pandas as pd

from lapsd.papers.differences import columns, interval_of, percent
from lapsd.papers.laps_sd.fixed import LOAD
from lapsd.papers.laps_sd.questions import winners
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Figure, Section
from lapsd.papers.words import change
from lapsd.sim.figures.differences import plot_value_of_acceptance

PANELS = {
    "sjf": "LP-SJF that knows mean acceptance, against LP-SJF",
    "srpt": "SRPT (true times), against LP-SRPT",
}


def find(evidence: Evidence) -> Tables:
    """By spread, length error and load, at moves as measured: percent, negative is better.

    `sjf`: LP-SJF that also knows each request's mean acceptance, against LP-SJF; `srpt`:
    clairvoyant SRPT against preemptive shortest predicted remaining length.
    """
    rows, spreads = [], winners.spreads(evidence.size)
    records = evidence.records["map"]
    some = records[records["swap_scale"] == 1]
    for (trace, predictor, load), group in some.groupby(["trace", "length_predictor", "load"]):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        rows.append(
            {
                "spread": spreads[str(trace)],
                "error": winners.error_of(str(predictor)),
                "load": load,
                **columns("sjf", percent(table, "lp-sjf-mean", "lp-sjf")),
                **columns("srpt", percent(table, "srpt", "lp-srpt")),
                "seeds": len(table),
            }
        )
    return {"value_of_acceptance": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Section:
    """At the recorded spread, and at the widest."""
    rows = tables["value_of_acceptance"]
    at = rows[(rows["load"] == LOAD) & (rows["error"] == 0)].set_index("spread")
    widest = max(evidence.size.spreads)
    real, wide = at.loc[1.0], at.loc[widest]
    text = [
        "LP-SJF that is told every request's true mean acceptance, against plain LP-SJF, both with"
        f" true lengths: {change(interval_of(real, 'sjf'))} at the recorded spread,"
        f" {change(interval_of(wide, 'sjf'))} at {widest:g} times that. Preemptive: SRPT, which"
        f" knows true times, against LP-SRPT with true lengths: {change(interval_of(real, 'srpt'))}"
        f" and {change(interval_of(wide, 'srpt'))}. That is about all that a policy could gain here"
        " by foreseeing acceptance once lengths are known."
    ]
    return Section("What knowing acceptance buys beyond knowing length", text)


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 12."""
    rows = tables["value_of_acceptance"]
    caption = (
        f"Simulated as in figure 10, load {LOAD:g}, moves as measured, paired 95 % intervals. Left:"
        " LP-SJF with and without each request's true mean acceptance. Right: clairvoyant SRPT"
        " against LP-SRPT (with a length error it also knows the true length)."
        f" {evidence.inputs.where}"
    )
    return [
        Figure(
            12,
            "What knowing acceptance buys beyond knowing length",
            caption,
            lambda: plot_value_of_acceptance(rows[rows["load"] == LOAD], PANELS),
        )
    ]


QUESTION = Question(
    "figure 12 (on generated requests)", find, say, draw, winners.needs, winners.derives
)
