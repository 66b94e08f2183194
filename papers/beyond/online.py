"""How fast does a server become good that starts with no past?"""

import pandas as pd

from lapsd.papers.beyond.fixed import LOAD, TYPICAL
from lapsd.papers.differences import percent, percent_of
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure
from lapsd.papers.words import change
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.sweeps.grid import Sweep

COUNTS = (10, 30, 100, 300)
NONE, SOME, ALL, OWN = (
    "kernel-gittins-online:known=0",
    "kernel-gittins-online:known=30",
    "kernel-gittins-online",
    "kernel-gittins",
)
LINES = {
    NONE: "no past",
    SOME: "a past of 30",
    ALL: "all of the past, and learning",
    "lp-srpt": "LP-SRPT",
}
GOOD = 3.0  # percent


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Runs of more and more requests, each from nothing."""
    return {
        "online": sweep(
            [*LINES, OWN, "fcfs"],
            size.queues,
            load=f"{LOAD:g}",
            requests=list(COUNTS),
            length_predictor=list(TYPICAL),
            kv_slots=0,
        )
    }


def find(evidence: Evidence) -> Tables:
    """Mean latency against `kernel-gittins` with all of the past, percent: by predictor, requests of a run,
    and policy.
    """
    rows = []
    keys = ["length_predictor", "requests"]
    for (predictor, requests), group in evidence.records["online"].groupby(keys, sort=False):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        for policy in LINES:
            value, low, high = percent(table, policy, OWN)
            rows.append((predictor, requests, policy, value, low, high, len(table)))
    return {
        "online": pd.DataFrame(
            rows, columns=["predictor", "requests", "policy", "percent", "low", "high", "seeds"]
        )
    }


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Holds if the longest runs from nothing are within 3 % beyond chance; in part with one of the
    predictors.
    """
    rows = tables["online"]
    cold = rows[rows["policy"] == NONE]
    longest = cold[cold["requests"] == cold["requests"].max()]
    near = longest[longest["high"] <= GOOD]
    findings = [
        "Mean latency of whole runs that begin with no past, against alike with all of it, at load"
        f" {LOAD:g} ({int(rows['seeds'].max())} seeds): "
        + "; ".join(
            f"with {predictor} "
            + ", ".join(
                f"{change(percent_of(r))} over {r['requests']} requests"
                for r in some.to_dict("records")
            )
            for predictor, some in cold.groupby("predictor", sort=False)
        )
        + ".",
        (
            "The first requests are served by their predictions alone, and their cost stays in the"
            " mean."
        ),
    ]
    last = "; ".join(
        f"{change(percent_of(r))} ({r['predictor']})" for r in longest.to_dict("records")
    )
    return Claim(
        f"A server that starts with no past is as good within {int(longest['requests'].max())}"
        " requests",
        "Our own question.",
        last,
        findings,
        HOLDS if len(near) == len(longest) else PART if len(near) else NOT,
        f"As good: within {GOOD:g} %, its interval included; so with {len(near)} of {len(longest)}"
        " predictors.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 4."""
    caption = (
        f"Simulated: mean latency of runs of so many requests at load {LOAD:g}, against alike with"
        f" the whole training half for its past; {evidence.size.queues:,} seeds, 95 % intervals."
        f" {evidence.inputs.where}"
    )
    rows = tables["online"]
    shown = rows.assign(
        panel=rows["predictor"],
        line=rows["policy"].map(LINES),
        x=rows["requests"],
        value=rows["percent"],
    )
    axes = ("requests of a run", "mean latency against alike, %")
    return [Figure(4, "From no past on", caption, lambda: plot_panels(shown, *axes, log=True))]


QUESTION = Question("learning online", find, say, draw, needs)
