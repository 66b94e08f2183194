"""Claim: first come, first served blocks short requests behind long ones (the paper's Figure 2)."""

from typing import Any

import pandas as pd

from lapsd.papers.alise.ablation import needs
from lapsd.papers.alise.systems import PREDICTOR, together
from lapsd.papers.alise.throughput import METRIC
from lapsd.papers.differences import percent
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import HOLDS, NOT, Claim, Figure
from lapsd.papers.words import change
from lapsd.policies import FCFS, Alise, Policy
from lapsd.sim.engine import Timeline
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run
from lapsd.sim.experiment.statistics import Interval
from lapsd.sim.figures.schedules import plot_few_requests

FEW, CROWDED, TRIES = 4, 2.0, 200  # requests, load and seeds of the example


def find(evidence: Evidence) -> Tables:
    """Compare ALISE's order with first come, first served, both with vLLM's memory manager.

    Also returns the schedules of a few requests under each policy.
    """
    records = together(evidence.records, "part")
    by_seed = records.pivot(index="seed", columns="system", values=METRIC)
    ordered = percent(by_seed, "reactive", "fcfs paged")
    blocking = pd.DataFrame([{"percent": ordered.value, "low": ordered.low, "high": ordered.high}])
    return {"head-of-line": blocking} | _example(evidence)


def _example(evidence: Evidence) -> Tables:
    """Return the schedules of the first seed at which ALISE preempts a request."""
    inputs = evidence.inputs
    prepared = PreparedScenario.of(
        inputs.trace, inputs.profile, requests=FEW, load=CROWDED, length_predictor=PREDICTOR
    )
    policies: list[Policy] = [FCFS(), Alise()]
    for seed in range(TRIES):
        timelines = {p.name: Timeline() for p in policies}
        runs = [run(prepared, p, seed, timelines[p.name]) for p in policies]
        if int(runs[-1].preemptions.sum()) > 0:
            spans = [pd.DataFrame(t.spans).assign(policy=name) for name, t in timelines.items()]
            requests = pd.DataFrame({"seed": seed, "arrival_ns": runs[0].arrival_ns})
            return {
                "schedules": pd.concat(spans, ignore_index=True),
                "schedules_requests": requests,
            }
    raise Unanswerable(f"in {TRIES} seeds ALISE preempts none of {FEW} requests")


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim: it holds if ALISE's order has a significantly lower mean than FCFS."""
    row: Any = tables["head-of-line"].iloc[0]
    against = change(Interval(row["percent"], row["low"], row["high"]))
    return Claim(
        "First come, first served blocks short requests behind long ones; ALISE does not",
        "The caption of the paper's Figure 2, and a review. We do not know the paper's numbers.",
        f"mean normalized latency {against}",
        [
            "Both policies use vLLM's memory manager with swapping. Ordering requests by estimated"
            " remaining time changes mean normalized latency (seconds per output token) by"
            f" {against}."
        ],
        HOLDS if row["high"] < 0 else NOT,
        "Only the sign of the effect can be compared with the paper.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 2."""
    requests = tables["schedules_requests"]
    spans = {
        str(policy): rows for policy, rows in tables["schedules"].groupby("policy", sort=False)
    }
    caption = (
        f"A simulated run of {FEW} recorded requests at load {CROWDED:g}; one request runs at a"
        f" time, and predicted lengths are {PREDICTOR}. One row per request, time on the horizontal"
        f" axis. It is the first seed ({requests['seed'].iloc[0]}) at which ALISE preempts a"
        " request. A bar marks the time in which a request runs (dark: prefill), a line its time"
        f" in the system, and a tick its arrival. {evidence.inputs.where}"
    )
    arrivals = requests["arrival_ns"].to_numpy()
    return [
        Figure(
            2,
            "First come, first served and ALISE",
            caption,
            lambda: plot_few_requests(spans, arrivals),
        )
    ]


QUESTION = Question("figure 2 and the claim on blocking", find, say, draw, needs)
