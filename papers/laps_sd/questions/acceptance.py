"""How much does a policy gain that knows acceptance in addition to output length?"""

import pandas as pd

from lapsd.papers.differences import columns, interval_of, percent
from lapsd.papers.laps_sd.fixed import LOAD
from lapsd.papers.laps_sd.questions import winners
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Figure, Section
from lapsd.papers.words import change
from lapsd.sim.figures.differences import plot_value_of_acceptance

TITLE = "The gain from knowing acceptance in addition to length"
PANELS = {"sjf": "LP-SJF with known acceptance vs. LP-SJF", "srpt": "SRPT (true times) vs. LP-SRPT"}


def find(evidence: Evidence) -> Tables:
    """Return differences in mean latency in percent by spread, length error and load.

    KV transfers take as long as by the profile. `sjf`: LP-SJF that also knows each request's mean
    acceptance, compared with LP-SJF; `srpt`: SRPT, which knows true times, compared with LP-SRPT.
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
    """Return both differences at the recorded spread and at the widest spread."""
    rows = tables["value_of_acceptance"]
    at = rows[(rows["load"] == LOAD) & (rows["error"] == 0)].set_index("spread")
    widest = max(evidence.size.spreads)
    real, wide = at.loc[1.0], at.loc[widest]
    text = [
        "With true lengths, knowing the true mean acceptance of every request changes LP-SJF's mean"
        f" latency by {change(interval_of(real, 'sjf'))} at the recorded spread of acceptance"
        f" between requests, and by {change(interval_of(wide, 'sjf'))} at {widest:g} times that"
        " spread. With preemption, SRPT, which knows true times, differs from LP-SRPT with true"
        f" lengths by {change(interval_of(real, 'srpt'))} and {change(interval_of(wide, 'srpt'))}."
        " This is about the most that a policy could gain here from predicting acceptance if"
        " lengths are known."
    ]
    return Section(TITLE, text)


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 12."""
    rows = tables["value_of_acceptance"]
    caption = (
        "Simulated as in Figure 10: difference in mean latency in percent (vertical axis) by"
        " spread of acceptance between requests (horizontal axis), one line per length error;"
        " below 0 knowledge helps. Left: LP-SJF that knows each request's true mean acceptance,"
        " compared with LP-SJF. Right: SRPT compared with LP-SRPT; SRPT knows true times and"
        f" therefore, where there is a length error, also true lengths. Load {LOAD:g}, KV transfers"
        f" by the profile, paired 95 % intervals. {evidence.inputs.where}"
    )
    return [
        Figure(
            12, TITLE, caption, lambda: plot_value_of_acceptance(rows[rows["load"] == LOAD], PANELS)
        )
    ]


QUESTION = Question(
    "figure 12 (on generated requests)", find, say, draw, winners.needs, winners.derives
)
