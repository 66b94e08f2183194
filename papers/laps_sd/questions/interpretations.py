"""How much does mean latency depend on our interpretation of the paper's LAPS-SD?

`docs/reference/model.md` describes the details that the paper leaves open.
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
    "follow=true": "queue of a perceptible request follows T̃",
    "order=total": "perceptible requests ordered by total T̃",
    "perceptible_first=false": "imperceptible requests first in a queue",
    "preempt=false": "no preemption by perceptible requests within a queue",
    "overrun=1.5": "L̂ grows by half when the output reaches it",
    "stability=sd": "stability by SD of the running mean",
    "stability=window": "stability by range of windowed means (same γ, δ)",
    "stability=posterior": "stability by width of a posterior (same γ, δ)",
    "count=12": "perceptible after 12 rounds in any case",
    "K=2": "2 queues",
    "K=6": "6 queues",
    "K=8": "8 queues",
    "M=1.5": "ratio of thresholds 1.5",
    "M=4": "ratio of thresholds 4",
    "gamma=3": "window of 3 rounds",
    "gamma=12": "window of 12 rounds",
    "delta=0.02": "tolerance 0.02",
    "delta=0.1": "tolerance 0.1",
}
OTHERS = ("lp-srpt", "lp-sjf", "las-round", "gittins", "las", "fcfs")
LITTLE, MUCH = 2, 5  # percent


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of every interpretation, and of other policies in the same runs."""
    policies = [*DEPLOYABLE, "las-round", "gittins", *(f"laps-sd:{r}" for r in INTERPRETATIONS)]
    return {"interpretations": sweep(policies, size.claims)}


def find(evidence: Evidence) -> Tables:
    """Compare each interpretation and policy with our interpretation of LAPS-SD, in percent."""
    return {
        "interpretations": against_all(
            evidence.records["interpretations"], "laps-sd", policy_over_others=False
        )
    }


def say(evidence: Evidence, tables: Tables) -> Section:
    """Return which interpretations and parameters change mean latency, and by how much."""
    rows = tables["interpretations"].set_index("policy")
    own = rows.loc[[f"laps-sd:{parameters}" for parameters in INTERPRETATIONS]].set_axis(
        list(INTERPRETATIONS)
    )
    table = Table(
        ["interpretation or parameter", "option", "mean latency"],
        [[INTERPRETATIONS[str(k)], str(k), change(percent_of(r))] for k, r in own.iterrows()],
        "Difference in mean latency of each alternative to our interpretation of LAPS-SD, with 95 %"
        " intervals over seeds; below 0 the alternative is faster.",
    )
    faster = [INTERPRETATIONS[str(k)] for k, r in own.iterrows() if r["high"] < 0]
    matters = [
        f"{INTERPRETATIONS[str(k)]} ({signed(r['percent'])} %)"
        for k, r in own.iterrows()
        if r["low"] > MUCH
    ]
    small = int((own["percent"].abs() < LITTLE).sum())
    text = [
        "The text of the paper that we know does not specify the thresholds, the order of ties,"
        " preemption within a queue, or the treatment of outputs that grow longer than predicted."
        f" {small} of {len(own)} alternatives change mean latency by less than {LITTLE} %."
        + (
            f" Alternatives slower by significantly more than {MUCH} %: {listed(matters)}."
            if matters
            else ""
        ),
        (
            f"Alternatives significantly faster than our interpretation: {listed(faster)}. We fixed"
            " the interpretation before any run, and did not change it afterwards."
        ),
        "Other policies compared with LAPS-SD in the same runs: "
        + listed([f"{NAMES[p]} {change(percent_of(rows.loc[p]))}" for p in OTHERS])
        + ". Gittins here knows the sizes of past requests and no predicted lengths.",
    ]
    return Section("The effect of details that the paper leaves open", text, [table])


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 8."""
    rows = tables["interpretations"]
    own = rows["policy"].str.startswith("laps-sd:")
    groups = {"other interpretations and parameters": rows[own], "other policies": rows[~own]}
    caption = (
        "Simulated: difference in mean latency to our interpretation of LAPS-SD, in percent"
        " (horizontal axis), one row per alternative; below 0 the alternative is faster. Top:"
        f" LAPS-SD with one detail or parameter changed. Bottom: other policies. {REQUESTS}"
        f" requests at load {LOAD:g}, all data sets, {evidence.size.claims:,} seeds, paired 95 %"
        f" intervals. {evidence.inputs.where}"
    )
    return [
        Figure(
            8,
            "Other interpretations of LAPS-SD, and other policies",
            caption,
            lambda: plot_differences(groups, NAMES | INTERPRETATIONS, "LAPS-SD"),
        )
    ]


QUESTION = Question("figure 8 and interpretations of LAPS-SD", find, say, draw, needs)
