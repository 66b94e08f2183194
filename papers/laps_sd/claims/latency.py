"""Claim: LAPS-SD lowers mean latency by about 39 %."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lapsd.papers.differences import percent
from lapsd.papers.inputs import ALL, Inputs, Size
from lapsd.papers.laps_sd.fixed import BASELINES, DEPLOYABLE, LOAD, PREDICTOR, REQUESTS, sweep
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import change, listed, percentage
from lapsd.sim.experiment.statistics import Interval, mean_interval
from lapsd.sim.figures.latency import plot_latency_by_requests
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep

PAPER_LATENCY = 0.39
POLICIES = (*DEPLOYABLE, "srpt")
OTHERS = (*BASELINES, "lp-srpt", "srpt")
COUNTS = (10, 20, 30, 40, 50)  # requests

Cell = tuple[str, bool, str]  # data set, all at once, policy that LAPS-SD is compared with


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of every policy, data set, arrival process and number of requests."""
    return {
        "latency": sweep(
            POLICIES,
            size.claims,
            requests=list(COUNTS),
            dataset=[*inputs.datasets, ALL],
            all_at_once=["false", "true"],
        )
    }


def find(evidence: Evidence) -> Tables:
    """Return mean latency, the bound, and LAPS-SD's difference to each policy.

    One row per data set, arrival process, number of requests and policy.
    """
    if len(names := evidence.inputs.datasets) != 3:
        raise Unanswerable(
            f"the trace has {len(names)} data sets ({', '.join(names)}) and three are needed"
        )
    rows = []
    keys = ["dataset", "all_at_once", "requests"]
    for key, group in evidence.records["latency"].groupby(keys, dropna=False):
        table = group.pivot(index="seed", columns="policy", values="mean_latency_s")
        bound_s = float(group.drop_duplicates("seed")["bound_s"].mean())
        scenario = dict(zip(keys, key, strict=True))
        scenario["dataset"] = scenario["dataset"] if isinstance(scenario["dataset"], str) else ALL
        for policy in table.columns:
            mean, against = mean_interval(table[policy]), percent(table, "laps-sd", policy)
            rows.append(
                {
                    **scenario,
                    "policy": policy,
                    "mean_s": mean.value,
                    "low_s": mean.low,
                    "high_s": mean.high,
                    "bound_s": bound_s,
                    "percent": against.value,
                    "percent_low": against.low,
                    "percent_high": against.high,
                    "seeds": len(table),
                }
            )
    return {"latency": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim over all data sets with Poisson arrivals; other rows are secondary.

    It holds if the mean is at least 39 % below that of each of the paper's baselines, and in part
    if it is significantly below each.
    """
    rows = tables["latency"]
    rows = rows[(rows["requests"] == REQUESTS) & rows["policy"].isin(OTHERS)]
    cells: dict[Cell, Interval] = {
        (r["dataset"], r["all_at_once"], r["policy"]): Interval(
            r["percent"], r["percent_low"], r["percent_high"]
        )
        for r in rows.to_dict("records")
    }
    shown = [(d, a) for a in (False, True) for d in [ALL, *evidence.inputs.datasets]]
    in_order = [(d, a, p) for d, a in shown for p in BASELINES]
    worse = [key for key in in_order if cells[key].low > 0]
    pooled = {p: cells[ALL, False, p] for p in OTHERS}
    widest = float(
        ((rows["percent_high"] - rows["percent_low"]) / 2)[rows["policy"].isin(BASELINES)].max()
    )
    findings = [
        (
            f"With {REQUESTS} requests that arrive at load {LOAD:g}, over all data sets, the mean"
            f" latency of LAPS-SD differs by {change(pooled['fcfs'])} from FCFS, by"
            f" {change(pooled['las'])} from LAS and by {change(pooled['lp-sjf'])} from LP-SJF"
            f" ({int(rows['seeds'].max()):,} seeds; the widest interval in this table is ±"
            f" {widest:.1f} % of its baseline)."
        ),
        _against_lp_srpt(
            pooled["lp-srpt"], cells[ALL, True, "lp-srpt"], cells[ALL, True, "lp-sjf"]
        ),
    ]
    slower = (
        f"LAPS-SD is significantly slower than {_grouped(worse)}."
        if worse
        else "LAPS-SD is significantly slower than none of the paper's baselines."
    )
    table = Table(
        ["data set, arrivals", *(f"vs. {NAMES[p]}" for p in OTHERS)],
        [[in_words(d, a), *(change(cells[d, a, p]) for p in OTHERS)] for d, a in shown],
        f"Difference in mean latency of LAPS-SD to other policies, {REQUESTS} requests, with 95 %"
        " intervals over seeds; below 0 LAPS-SD is faster. LP-SRPT runs the request with the"
        " shortest predicted remaining length, with preemption; it is not in the paper. SRPT knows"
        " true times.",
    )
    return Claim(
        "LAPS-SD lowers mean latency by about 39 %",
        "The abstract of the paper. We do not know against which baseline, on which data and at"
        " which load.",
        f"{change(pooled['fcfs'])} vs. FCFS, {change(pooled['lp-sjf'])} vs. LP-SJF",
        findings,
        _verdict(pooled),
        f"{_why(pooled)} Secondary, without a verdict: {slower}",
        table,
    )


def _verdict(pooled: Mapping[str, Interval]) -> str:
    if all(pooled[p].value <= -100 * PAPER_LATENCY for p in BASELINES):
        return HOLDS
    return PART if all(pooled[p].high < 0 for p in BASELINES) else NOT


def _why(pooled: Mapping[str, Interval]) -> str:
    reached = [NAMES[p] for p in BASELINES if pooled[p].value <= -100 * PAPER_LATENCY]
    faster = [NAMES[p] for p in BASELINES if pooled[p].high < 0]
    return (
        "Over all data sets with Poisson arrivals, of the paper's baselines"
        f" {listed([NAMES[p] for p in BASELINES])} LAPS-SD is significantly faster than"
        f" {listed(faster)}, and its mean latency is at least {percentage(PAPER_LATENCY, 0)} below"
        f" that of {listed(reached)}."
    )


def _against_lp_srpt(poisson: Interval, at_once: Interval, sjf_at_once: Interval) -> str:
    comparison = (
        "significantly slower than"
        if poisson.low > 0
        else "significantly faster than"
        if poisson.high < 0
        else "not significantly different from"
    )
    text = (
        f"LAPS-SD is {comparison} LP-SRPT, which preempts by predicted remaining length and does"
        f" not use acceptance: {change(poisson)}, and {change(at_once)} when all requests arrive at"
        " once."
    )
    if sjf_at_once.low > 0:
        text += (
            " When all requests arrive at once, LAPS-SD is significantly slower even than LP-SJF"
            f" ({change(sjf_at_once)}). No later request can then gain from preemption, and the"
            " rounds that LAPS-SD spends on observing each request's acceptance delay all others."
        )
    return text


def _grouped(keys: Sequence[Cell]) -> str:
    """Return text such as `FCFS on code and prose; FCFS with all requests at once on code`."""
    groups = []
    for policy in dict.fromkeys(p for _, _, p in keys):
        for at_once, how in ((False, ""), (True, " with all requests at once")):
            if on := [in_words(d, False) for d, a, p in keys if (a, p) == (at_once, policy)]:
                groups.append(f"{NAMES[policy]}{how} on {listed(on)}")
    return "; ".join(groups)


def in_words(dataset: str, at_once: bool) -> str:
    """Return a data set and an arrival process as text."""
    return f"{'all data sets' if dataset == ALL else dataset}{', all at once' if at_once else ''}"


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 5."""
    caption = (
        "Simulated mean latency in seconds (vertical axis) by number of requests (horizontal axis),"
        " one line per policy, one column per data set; lower is faster."
        f" Upper row: requests arrive as a Poisson process at load {LOAD:g}; lower row: all at once"
        " (we do not know the paper's arrivals). Each run starts with an empty server and ends"
        f" when all requests are done; mean over {evidence.size.claims:,} seeds with 95 % intervals"
        f" (bands), predicted lengths {PREDICTOR}. Dashed: a lower bound on mean latency, which"
        " holds here because the batch size is 1, the loop is open and there is no warm-up."
        " LP-SRPT and SRPT are not in the paper; SRPT knows true times. The paper's Figure 5"
        f" compares the other four. {evidence.inputs.where}"
    )
    return [
        Figure(
            5,
            "Mean latency by policy, data set and number of requests",
            caption,
            lambda: plot_latency_by_requests(
                tables["latency"], evidence.inputs.datasets, POLICIES, LOAD
            ),
        )
    ]


QUESTION = Question("figure 5 and the comparison by data set", find, say, draw, needs)
