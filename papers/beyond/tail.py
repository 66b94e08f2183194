"""What does the lower mean cost the slowest, and what does patience buy them?"""

import pandas as pd

from lapsd.papers.beyond.fixed import LOAD, TYPICAL
from lapsd.papers.differences import columns, interval_of
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
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
LENGTHS = 20  # seeds of slowdown by length


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Kernel-Gittins at each patience, and the others."""
    own = [f"kernel-gittins:age_weight={p}" for p in AGE_WEIGHT]
    return {
        "tail": sweep(
            [*OTHERS, *own],
            size.others,
            load=f"{LOAD:g}",
            requests=REQUESTS,
            length_predictor=list(TYPICAL),
            kv_slots=0,
        )
    }


def find(evidence: Evidence) -> Tables:
    """`tail`: mean, p99 and worst slowdown of a run, over FCFS's, by policy and predictor; and
    slowdown by length.
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
        kv_slots=None,
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
    """Holds if alike's p99 is not above FCFS's beyond chance with either predictor; in part if with
    some patience.
    """
    rows, lengths = tables["tail"], tables["slowdown_by_length"]
    own = rows[rows["policy"] == "kernel-gittins"]
    patient = rows[rows["policy"].str.startswith("kernel-gittins:age_weight")]
    mild = patient[(patient["p99_low"] <= 1) & (patient["mean_high"] < 1)]
    both = mild.groupby("policy")["predictor"].nunique()
    enough = [p for p in dict.fromkeys(patient["policy"]) if both.get(p, 0) == len(own)]
    findings = [
        f"{REQUESTS} requests at load {LOAD:g}, room for all caches, {int(rows['seeds'].max())}"
        " seeds. "
        + " ".join(
            f"With {r['predictor']} alike's mean is {r['mean']:.2f} times FCFS's, the p99 of a run"
            f" {r['p99']:.2f} [{r['p99_low']:.2f}, {r['p99_high']:.2f}], the worst slowdown"
            f" {r['worst']:.2f}."
            for r in own.to_dict("records")
        ),
        "Patience p counts p seconds for each second that a request has been there longer. "
        + (
            "The least that brings the p99 of a run within chance of FCFS's with both predictors"
            f" is {enough[0].partition('=')[2]}."
            if enough
            else (
                "None of those tried brings the p99 of a run within chance of FCFS's and keeps a"
                " lower mean."
            )
        ),
        "Mean slowdown by quarter of output length, shortest first: "
        + "; ".join(
            f"{NAMES.get(str(r['policy']), r['policy'])} "
            + ", ".join(f"{r[q]:.1f}" for q in ("Q1", "Q2", "Q3", "Q4"))
            for r in lengths.to_dict("records")
        )
        + ".",
    ]
    table = Table(
        ["policy", "predictor", "mean", "p99 of a run", "worst slowdown"],
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
        "Over FCFS's on the same seeds: ratios of means of each run's own figure.",
    )
    holds = bool((own["p99_low"] <= 1).all())
    p99 = " and ".join(
        f"{signed(100 * (r['p99'] - 1))} % ({r['predictor']})" for r in own.to_dict("records")
    )
    return Claim(
        "Kernel-Gittins's slowest requests wait no longer than FCFS's",
        "Our own question.",
        f"p99 of a run {p99}",
        findings,
        HOLDS if holds else PART if enough else NOT,
        (
            "Its p99 is within chance of FCFS's, or below."
            if holds
            else (
                f"Its p99 is above FCFS's; with patience {enough[0].partition('=')[2]} it is not."
                if enough
                else "Its p99 is above FCFS's at every patience that keeps a lower mean."
            )
        ),
        table,
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 3."""
    caption = (
        f"Simulated: mean latency against the p99 of a run, both over FCFS's, {REQUESTS} requests"
        f" at load {LOAD:g}, {evidence.size.others:,} seeds. Line: alike from no patience (left) to"
        f" much; dots: others. {evidence.inputs.where}"
    )
    return [Figure(3, "The mean against the tail", caption, lambda: plot_trade(tables["tail"]))]


QUESTION = Question("the tail", find, say, draw, needs)
