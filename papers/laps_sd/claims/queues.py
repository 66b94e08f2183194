"""Claim: the best number of queues falls from 6 at 10 requests to 4 at 30."""

import numpy as np
import pandas as pd

from lapsd.papers.differences import percent, percent_of
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.claims.latency import COUNTS
from lapsd.papers.laps_sd.fixed import LOAD, sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure
from lapsd.papers.words import change, percentage, signed
from lapsd.policies import LapsSD
from lapsd.sim.experiment.prepared_scenario import policy_context
from lapsd.sim.figures.differences import plot_number_of_queues
from lapsd.sim.sweeps.best import RESAMPLES, share_of_wins
from lapsd.sim.sweeps.grid import Sweep

PAPER_BEST_K = {10: 6, 30: 4}
FEW, MANY = PAPER_BEST_K
ENOUGH = 0.95  # share of resamples at which the best K counts as falling
RULES = {"scaled": "Sup₁ scaled with K", "fixed": "Sup₁ fixed"}


def default_sup_1_s(inputs: Inputs) -> float:
    """Return the first threshold of LAPS-SD by default, over all data sets."""
    context = policy_context(inputs.split().train)
    return LapsSD().bind(context).bounds_ns[0] / 1e9


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of every K, with the first threshold scaled with K and fixed."""
    policies = ["laps-sd", f"laps-sd:sup_1_s={default_sup_1_s(inputs)!r}"]
    return {"queues": sweep(policies, size.queues, {"K": "1:8"}, requests=list(COUNTS))}


def find(evidence: Evidence) -> Tables:
    """Return two tables.

    `queues`: by rule for Sup_1, number of requests and K, the difference in mean latency to K = 4
    in percent, and the share of resamples in which K is best. `queues_falling`: the share of
    resamples in which the best K at few requests is above that at many, with Sup_1 scaled.
    """
    records = evidence.records["queues"]
    rows, scaled = [], {}
    for (fixed, requests), group in records.groupby([records["sup_1_s"].notna(), "requests"]):
        table = group.pivot(index="seed", columns="K", values="mean_latency_s")
        values = table.to_numpy(dtype=float)
        wins = share_of_wins(values.T)
        if not fixed:
            scaled[requests] = values
        for column, k in enumerate(table.columns):
            against = percent(table, k, 4)
            rows.append(
                {
                    "sup_1": "fixed" if fixed else "scaled",
                    "requests": requests,
                    "K": int(k),
                    "percent": against.value,
                    "low": against.low,
                    "high": against.high,
                    "best": float(wins[column]),
                    "mean_s": float(values[:, column].mean()),
                    "seeds": len(values),
                }
            )
    falling = pd.DataFrame(
        {"few": [FEW], "many": [MANY], "share": [_falling(scaled[FEW], scaled[MANY])]}
    )
    return {"queues": pd.DataFrame(rows), "queues_falling": falling}


def _falling(few: np.ndarray, many: np.ndarray) -> float:
    """Return the share of resamples in which the best K is higher in `few` than in `many`.

    Parameters
    ----------
    few, many : mean latencies, (seeds, K)
    """
    seeds = len(few)
    weights = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    best_at_few, best_at_many = (np.argmin(weights @ values, axis=1) for values in (few, many))
    return float((best_at_few > best_at_many).mean())


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim with Sup_1 scaled.

    It holds if each of the paper's K is best in most resamples, and in part if the best K is lower
    at 30 than at 10 requests in 95 % of resamples.
    """
    rows, falling = tables["queues"], float(tables["queues_falling"]["share"].iloc[0])
    scaled = rows[rows["sup_1"] == "scaled"]
    top = {n: scaled[scaled["requests"] == n].sort_values("best").iloc[-1] for n in PAPER_BEST_K}
    named = all(int(top[n]["K"]) == k and top[n]["best"] > 0.5 for n, k in PAPER_BEST_K.items())
    span = float(scaled.loc[scaled["K"] >= 4, "percent"].abs().max())
    fixed = (
        rows[(rows["sup_1"] == "fixed") & (rows["requests"] == MANY)].sort_values("best").iloc[-1]
    )
    six = scaled[(scaled["requests"] == MANY) & (scaled["K"] == 6)].iloc[0]
    findings = [
        (
            "When Sup₁ is scaled with K so that the middle threshold stays at the median T̃, K ="
            f" {int(top[FEW]['K'])} is best most often at {FEW} requests"
            f" ({percentage(top[FEW]['best'], 0)} of resamples of {int(top[FEW]['seeds'])} seeds),"
            f" and K = {int(top[MANY]['K'])} at {MANY} requests"
            f" ({percentage(top[MANY]['best'], 0)}). The best K is lower at {MANY} requests than at"
            f" {FEW} in {percentage(falling, 0)} of resamples."
            f" {'The choice hardly matters from K = 4 on: a' if span < 2 else 'A'}ll K of 4 and"
            f" more are within {span:.1f} % of K = 4."
        ),
        (
            "When Sup₁ is fixed at its value for K = 4, fewer queues mean a lower last threshold."
            f" Then K = {int(fixed['K'])} is best most often at {MANY} requests"
            f" ({percentage(fixed['best'], 0)}). With one queue LAPS-SD is FCFS, because no waiting"
            " request is perceptible."
        ),
    ]
    return Claim(
        "The best number of queues falls from 6 at 10 requests to 4 at 30",
        "A review of the paper (its Figure 6). We do not know how thresholds follow K.",
        f"best most often: K = {int(top[FEW]['K'])} at {FEW} requests, {int(top[MANY]['K'])} at"
        f" {MANY}; K of 4 and more differ by {signed(-span)} to {signed(span)} %",
        findings,
        HOLDS if named else PART if falling >= ENOUGH else NOT,
        f"Six queues instead of four at {MANY} requests change mean latency by"
        f" {change(percent_of(six), 2)}"
        + (
            ", which is not statistically significant."
            if six["low"] <= 0 <= six["high"]
            else ", which is statistically significant."
        ),
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 6."""
    caption = (
        "Simulated. Top: difference in mean latency to K = 4 (vertical axis, percent, logarithmic"
        " beyond ± 1 %), by number of queues K (horizontal axis), one line per number of requests;"
        " below 0 that K is faster. Bottom: how often each K is best when seeds are resampled."
        " Left: Sup₁ is scaled so that the middle threshold is the median T̃ of past requests;"
        " right: Sup₁ is fixed at its value for K = 4"
        f" ({default_sup_1_s(evidence.inputs) * 1e3:.3g} ms). All data sets, load {LOAD:g},"
        f" {evidence.size.queues:,} seeds, paired 95 % intervals. In the paper's Figure 6 the best"
        f" K is 6 at 10 requests and 4 at 30. {evidence.inputs.where}"
    )
    return [
        Figure(
            6,
            "Mean latency by number of queues",
            caption,
            lambda: plot_number_of_queues(tables["queues"], RULES),
        )
    ]


QUESTION = Question("figure 6 and the claim on the number of queues", find, say, draw, needs)
