"""How many requests does a server need to learn online that starts with no history?"""

import pandas as pd

from lapsd.papers.beyond.fixed import LOAD, TYPICAL
from lapsd.papers.differences import percent, percent_of
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Figure, judged
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
    NONE: "online, no history",
    SOME: "online, history of 30",
    ALL: "online, whole training half",
    "lp-srpt": "LP-SRPT",
}
GOOD = 3.0  # percent


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep over the number of requests of a run."""
    return {
        "online": sweep(
            [*LINES, OWN, "fcfs"],
            size.queues,
            load=f"{LOAD:g}",
            requests=list(COUNTS),
            length_predictor=list(TYPICAL),
            kv_slots="unlimited",
        )
    }


def find(evidence: Evidence) -> Tables:
    """Compare mean latency with that of Kernel-Gittins, which knows the training half, in percent.

    One row per predictor, number of requests of a run, and policy.
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
    """Judge the claim on the longest runs that start with no history.

    It holds if the interval of the difference ends at 3 % or below with every predictor, and in
    part if it does with one of them.
    """
    rows = tables["online"]
    cold = rows[rows["policy"] == NONE]
    longest = cold[cold["requests"] == cold["requests"].max()]
    near = longest[longest["high"] <= GOOD]
    findings = [
        "Mean latency of runs that start with no history, compared with Kernel-Gittins that knows"
        f" the training half, at load {LOAD:g} ({int(rows['seeds'].max())} seeds): "
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
            "The first requests of a run are ordered only by their predicted lengths. Their latency"
            " is part of the mean."
        ),
    ]
    last = "; ".join(
        f"{change(percent_of(r))} ({r['predictor']})" for r in longest.to_dict("records")
    )
    return Claim(
        "A server that starts with no history catches up within"
        f" {int(longest['requests'].max())} requests",
        "Our own question.",
        last,
        findings,
        judged(len(near), len(longest)),
        f"The server has caught up if the interval of the difference ends at {GOOD:g} % or below."
        f" It does with {len(near)} of {len(longest)} predictors.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 4."""
    caption = (
        "Simulated: difference in mean latency to Kernel-Gittins that knows the training half, in"
        " percent (vertical axis), by number of requests of a run (horizontal axis, logarithmic),"
        " one panel per length predictor. Online: the policy also learns from finished requests."
        f" Load {LOAD:g}, {evidence.size.queues:,} seeds, 95 % intervals. {evidence.inputs.where}"
    )
    rows = tables["online"]
    shown = rows.assign(
        panel=rows["predictor"],
        line=rows["policy"].map(LINES),
        x=rows["requests"],
        value=rows["percent"],
    )
    axes = ("requests of a run", "mean latency vs. Kernel-Gittins, %")
    return [
        Figure(
            4,
            "Learning online from no history",
            caption,
            lambda: plot_panels(shown, *axes, log=True),
        )
    ]


QUESTION = Question("learning online", find, say, draw, needs)
