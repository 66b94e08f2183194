"""Do the slowest requests pay for the lower mean latency, and does an age weight help them?"""

import pandas as pd

from lapsd.papers.beyond.fixed import LOAD, TYPICAL
from lapsd.papers.differences import columns, interval_of
from lapsd.papers.equivalence import MARGIN, at_most
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Claim, Figure, Table, judged
from lapsd.papers.words import signed
from lapsd.policies import parse_policy
from lapsd.sim.experiment.comparison import compare_on
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.statistics import ratio_of_means
from lapsd.sim.figures.style import NAMES
from lapsd.sim.figures.tails import plot_trade
from lapsd.sim.sweeps.grid import Sweep

REQUESTS = 100
AGE_WEIGHT = ("0", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "3")
OTHERS = (
    "fcfs",
    "lp-srpt",
    "laps-sd",
    "a-min",
    "tie",
    "lp-srpt:c=0.8",
    "boost:theta=0.1",
    "boost",
    "boost:theta=1",
)
METRICS = {"mean_latency_s": "mean", "p99_latency_s": "p99", "max_slowdown": "worst"}
ABOVE = 1 + MARGIN / 100  # of FCFS's p99
LENGTHS = 20  # seeds of slowdown by length


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of Kernel-Gittins with each age weight, and of other policies."""
    own = [f"kernel-gittins:age_weight={p}" for p in AGE_WEIGHT]
    return {
        "tail": sweep(
            [*OTHERS, *own],
            size.others,
            load=f"{LOAD:g}",
            requests=REQUESTS,
            length_predictor=list(TYPICAL),
            kv_slots="unlimited",
        )
    }


def find(evidence: Evidence) -> Tables:
    """Return two tables.

    `tail`: mean latency, p99 and worst slowdown of a run divided by FCFS's, by policy and
    predictor. `slowdown_by_length`: mean slowdown by quarter of output length.
    """
    rows = []
    for predictor, group in evidence.records["tail"].groupby("length_predictor", sort=False):
        wide = {
            metric: group.pivot(index="seed", columns="policy", values=metric) for metric in METRICS
        }
        for policy in dict.fromkeys(group["policy"]):
            row: dict[str, object] = {"predictor": predictor, "policy": policy}
            for metric, name in METRICS.items():
                row |= columns(name, ratio_of_means(wide[metric][policy], wide[metric]["fcfs"]))
            rows.append(row | {"seeds": len(wide["mean_latency_s"])})
    prepared = PreparedScenario.of(
        evidence.inputs.trace,
        evidence.inputs.profile,
        load=LOAD,
        requests=REQUESTS,
        length_predictor=TYPICAL[0],
        kv_slots="unlimited",
    )
    policies = [
        parse_policy(spec)
        for spec in (
            "fcfs",
            "lp-srpt",
            "laps-sd",
            "kernel-gittins",
            "kernel-gittins:age_weight=0.2",
        )
    ]
    by_length = compare_on(
        prepared, policies, seeds=min(LENGTHS, evidence.size.others)
    ).slowdown_by_length
    return {"tail": pd.DataFrame(rows), "slowdown_by_length": by_length.reset_index()}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the p99 of a run under Kernel-Gittins without an age weight.

    It holds if the p99 is shown to be at most 2 % above FCFS's with both predictors, and in part if
    it is with one of them. Age weights are secondary.
    """
    rows, lengths = tables["tail"], tables["slowdown_by_length"]
    own = rows[rows["policy"] == "kernel-gittins"]
    weighted = rows[rows["policy"].str.startswith("kernel-gittins:age_weight")]
    near = weighted[at_most(weighted, ABOVE, "p99") & (weighted["mean_high"] < 1)]
    both = near.groupby("policy")["predictor"].nunique()
    enough = [p for p in dict.fromkeys(weighted["policy"]) if both.get(p, 0) == len(own)]
    findings = [
        f"{REQUESTS} requests at load {LOAD:g}, unlimited KV memory, {int(rows['seeds'].max())}"
        " seeds, relative to FCFS. "
        + " ".join(
            f"With {r['predictor']}, Kernel-Gittins has {r['mean']:.2f} times the mean latency,"
            f" {r['p99']:.2f} [{r['p99_low']:.2f}, {r['p99_high']:.2f}] times the p99 of a run, and"
            f" {r['worst']:.2f} times the worst slowdown."
            for r in own.to_dict("records")
        ),
        "An age weight w lowers the rank of a request by w seconds for each second since its"
        " arrival, and lower ranks run first. "
        + (
            f"Secondary, without a verdict: the smallest age weight whose p99 of a run is shown to"
            f" be at most {MARGIN:g} % above FCFS's with both predictors, and whose mean is"
            f" significantly lower, is {enough[0].partition('=')[2]}."
            if enough
            else (
                "Secondary, without a verdict: with no age weight the p99 of a run is shown to be"
                f" at most {MARGIN:g} % above FCFS's at a significantly lower mean."
            )
        ),
        "Mean slowdown by quarter of output length, shortest quarter first: "
        + "; ".join(
            f"{NAMES.get(str(r['policy']), r['policy'])} "
            + ", ".join(f"{r[q]:.1f}" for q in ("Q1", "Q2", "Q3", "Q4"))
            for r in lengths.to_dict("records")
        )
        + ".",
    ]
    table = Table(
        ["policy", "length predictor", "mean latency", "p99 of a run", "worst slowdown"],
        [
            [
                str(r["policy"]),
                str(r["predictor"]),
                *(
                    f"{i.value:.3f} [{i.low:.3f}, {i.high:.3f}]"
                    for i in (interval_of(r, m) for m in METRICS.values())
                ),
            ]
            for r in rows.to_dict("records")
        ],
        "Divided by FCFS's on the same seeds, with 95 % intervals: ratios of means over runs.",
    )
    good = int(at_most(own, ABOVE, "p99").sum())
    p99 = " and ".join(
        f"{signed(100 * (r['p99'] - 1))} % ({r['predictor']})" for r in own.to_dict("records")
    )
    return Claim(
        "The slowest requests take no longer under Kernel-Gittins than under FCFS",
        "Our own question.",
        f"p99 of a run {p99}",
        findings,
        judged(good, len(own)),
        f"The p99 of a run is shown to be at most {MARGIN:g} % above FCFS's (one-sided test at 5 %)"
        f" with {good} of {len(own)} predictors.",
        table,
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 3."""
    caption = (
        "Simulated: p99 of a run (vertical axis) by mean latency (horizontal axis), both divided"
        " by FCFS's, one panel per length predictor; lower left is better. Line: Kernel-Gittins"
        " with the age weight given at each dot, with 95 % intervals. Markers: other policies."
        f" {REQUESTS} requests at load {LOAD:g}, {evidence.size.others:,} seeds."
        f" {evidence.inputs.where}"
    )
    return [Figure(3, "Mean latency and tail latency", caption, lambda: plot_trade(tables["tail"]))]


QUESTION = Question("the tail", find, say, draw, needs)
