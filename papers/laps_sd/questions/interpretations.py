"""What does each choice change that the paper leaves open inside LAPS-SD?

The choices themselves are described in `docs/simulator.md`.
"""

from lapsd.papers.differences import against_all, percent_of
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import DEPLOYABLE, LOAD, REQUESTS, sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Figure, Section, Table
from lapsd.papers.words import change, listed, signed
from lapsd.sim.figures.differences import plot_differences
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

INTERPRETATIONS = {
    "follow=true": "the queue of a perceptible request follows its remaining T̃",
    "order=total": "perceptible requests are ordered by total T̃",
    "perceptible_first=false": "not-perceptible requests go first in a queue",
    "preempt=false": "a perceptible request does not preempt a not-perceptible one of its queue",
    "overrun=1.5": "L̂ grows by half whenever the output reaches it",
    "stability=sd": "stability by the running mean's standard deviation",
    "stability=window": "stability by the range of windowed means (same γ, δ)",
    "stability=posterior": "stability by a posterior's width (same γ, δ)",
    "count=12": "perceptible after 12 rounds, whatever acceptance does",
    "K=2": "2 queues",
    "K=6": "6 queues",
    "K=8": "8 queues",
    "M=1.5": "thresholds 1.5 apart",
    "M=4": "thresholds 4 apart",
    "gamma=3": "a window of 3 rounds",
    "gamma=12": "a window of 12 rounds",
    "delta=0.02": "tolerance 0.02",
    "delta=0.1": "tolerance 0.1",
}
OTHERS = ("lp-srpt", "lp-sjf", "las-round", "gittins", "las", "fcfs")
LITTLE, MUCH = 2, 5  # percent


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Every reading, and other policies in the same runs."""
    policies = [*DEPLOYABLE, "las-round", "gittins", *(f"laps-sd:{r}" for r in INTERPRETATIONS)]
    return {"interpretations": sweep(policies, size.claims)}


def find(evidence: Evidence) -> Tables:
    """Each configuration against LAPS-SD as we read it, in percent of its mean latency."""
    return {
        "interpretations": against_all(
            evidence.records["interpretations"], "laps-sd", policy_over_others=False
        )
    }


def say(evidence: Evidence, tables: Tables) -> Section:
    """Which choices matter."""
    rows = tables["interpretations"].set_index("policy")
    own = rows.loc[[f"laps-sd:{reading}" for reading in INTERPRETATIONS]].set_axis(
        list(INTERPRETATIONS)
    )
    table = Table(
        ["choice", "parameter", "mean latency"],
        [[INTERPRETATIONS[str(k)], str(k), change(percent_of(r))] for k, r in own.iterrows()],
        "Each other reading against LAPS-SD as we read it, 95 % intervals over seeds: below 0 the"
        " other is faster.",
    )
    faster = [INTERPRETATIONS[str(k)] for k, r in own.iterrows() if r["high"] < 0]
    matters = [
        f"{INTERPRETATIONS[str(k)]} ({signed(r['percent'])} %)"
        for k, r in own.iterrows()
        if r["low"] > MUCH
    ]
    small = int((own["percent"].abs() < LITTLE).sum())
    text = [
        "Neither thresholds nor ties, preemption inside a queue or what happens when an output"
        f" outruns its prediction are spelled out in what is known of the paper. {small} of"
        f" {len(own)} other choices change mean latency by less than {LITTLE} %."
        + (f" What hurts: {listed(matters)}." if matters else ""),
        (
            f"Faster than our reading beyond chance: {listed(faster)}. The reading was fixed"
            " before, and stays."
        ),
        "Against other policies in the same runs: "
        + listed([f"{NAMES[p]} {change(percent_of(rows.loc[p]))}" for p in OTHERS])
        + ". (Gittins here knows the past sizes and no prediction.)",
    ]
    return Section("What the paper leaves open, choice by choice", text, [table])


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 8."""
    rows = tables["interpretations"]
    own = rows["policy"].str.startswith("laps-sd:")
    groups = {
        "other readings of the paper and other parameters": rows[own],
        "other policies": rows[~own],
    }
    caption = (
        f"Simulated: {REQUESTS} requests at load {LOAD:g}, all data sets, {evidence.size.claims:,}"
        f" seeds, paired 95 % intervals. {evidence.inputs.where}"
    )
    return [
        Figure(
            8,
            "Other readings of LAPS-SD, and other policies",
            caption,
            lambda: plot_differences(groups, INTERPRETATIONS, "LAPS-SD as we read it"),
        )
    ]


QUESTION = Question("figure 8 and the choices of LAPS-SD", find, say, draw, needs)
