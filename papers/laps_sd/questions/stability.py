"""Does stability matter, or only the number of rounds?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from lapsd.papers.differences import (
    columns,
    interval_of,
    percent,
    points,
    reverse,
    seeds_by_policy,
    selected,
)
from lapsd.papers.inputs import ALL, RECORDED, Inputs, Size
from lapsd.papers.laps_sd.fixed import DEPLOYABLE, LOAD, REQUESTS, sweep
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Figure, Section, Table
from lapsd.papers.words import change, listed, percentage, signed
from lapsd.policies import LapsSD, parse_policy
from lapsd.sim.experiment.stability import quantiles, stable_rounds
from lapsd.sim.figures.stability import plot_latency_by_round
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Trace, shuffled

SHUFFLED = "shuffled"
GAMMA, DELTA = ("3", "5", "8", "12", "20"), ("0.01", "0.02", "0.05", "0.1", "0.2")
COUNTS = (1, 2, 3, 5, 8, 12, 16, 20, 30, 50)
WINDOWS = (
    "gamma=5,delta=0.1",
    "gamma=5,delta=0.2",
    "gamma=5,delta=0.3",
    "gamma=10,delta=0.1",
    "gamma=10,delta=0.2",
)
POSTERIORS = ("0.03", "0.04", "0.05", "0.06", "0.08", "0.1")
EARLY, LATE = "laps-sd:gamma=3,delta=0.2", "laps-sd:gamma=20,delta=0.01"
KINDS = {
    "range": "γ, δ (the paper's)",
    "count": "a fixed number of rounds",
    "window": "windowed mean",
    "posterior": "posterior's width",
}


def derives(inputs: Inputs, size: Size) -> dict[str, Callable[[], Trace]]:
    """The recorded trace with each request's rounds shuffled."""
    return {SHUFFLED: lambda: shuffled(inputs.trace, np.random.default_rng(0))}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Tests of every kind, by data set, on recorded and on shuffled rounds."""
    tests = [f"laps-sd:gamma={g},delta={d}" for g in GAMMA for d in DELTA]
    tests += [f"laps-sd:count={c}" for c in COUNTS]
    tests += [f"laps-sd:stability=window,{p}" for p in WINDOWS]
    tests += [f"laps-sd:stability=posterior,gamma=1,delta={d}" for d in POSTERIORS]
    datasets = [*inputs.datasets, ALL]
    return {
        "stability": sweep(
            [*DEPLOYABLE, *tests], size.stability, trace=[RECORDED, SHUFFLED], dataset=datasets
        )
    }


def kind_of_test(spec: str) -> str:
    """What a LAPS-SD spec takes for stability: a key of `KINDS`."""
    policy = _laps_sd(spec)
    return "count" if policy.count else policy.stability


def _laps_sd(spec: str) -> LapsSD:
    policy = parse_policy(spec)
    assert isinstance(policy, LapsSD)
    return policy


def _parameters(spec: str) -> str:
    """γ and δ, or the count, of a LAPS-SD spec, in words."""
    policy = _laps_sd(spec)
    if policy.count:
        return f"{policy.count} round{'s' if policy.count > 1 else ''}"
    window = "" if policy.stability == "posterior" else f"γ = {policy.gamma}, "
    return f"{window}δ = {policy.delta:g}"


def find(evidence: Evidence) -> Tables:
    """Every test; the referee's controls; what too early and too late cost."""
    records, inputs = evidence.records["stability"], evidence.inputs
    traces = {RECORDED: inputs.trace, SHUFFLED: evidence.trace(SHUFFLED)}
    return {
        "stability": _tests(records, traces),
        "controls": _controls(records, inputs),
        "sensitivity": _sensitivity(records, inputs),
    }


def _tests(records: pd.DataFrame, traces: dict[str, Trace]) -> pd.DataFrame:
    """Every stability test, by data set and trace: the median round, the share, latency against
    FCFS.
    """
    rows = []
    for (dataset, name), group in records.groupby(["dataset", "trace"], dropna=False):
        dataset = dataset if isinstance(dataset, str) else ALL
        some = traces[str(name)] if dataset == ALL else traces[str(name)].only(dataset)
        table = seeds_by_policy(group)
        for spec in (s for s in table.columns if s.startswith("laps-sd")):
            _, median, _, share = quantiles(stable_rounds(some, _laps_sd(spec)))
            against = percent(table, spec, "fcfs")
            rows.append(
                {
                    "dataset": dataset,
                    "trace": name,
                    "policy": spec,
                    "kind": kind_of_test(spec),
                    "round": median,
                    "share": share,
                    "percent": against.value,
                    "low": against.low,
                    "high": against.high,
                    "seeds": len(table),
                }
            )
    return pd.DataFrame(rows)


def _controls(records: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """The referee's questions, by data set.

    `shuffling`: how much shuffled rounds change LAPS-SD's latency against FCFS, in points, at its
    defaults. For each kind of test the best by half of the seeds, and on the other half, in
    percent, against LAPS-SD's defaults and (`_to_count`) against the best fixed count.
    """
    rows = []
    for dataset in [*inputs.datasets, ALL]:
        only = None if dataset == ALL else dataset
        table = seeds_by_policy(records, trace=RECORDED, dataset=only)
        mixed = seeds_by_policy(records, trace=SHUFFLED, dataset=only)
        shuffling = points(mixed, table, "laps-sd", "fcfs")
        row: dict[str, Any] = {"dataset": dataset, **columns("shuffling", shuffling)}
        tests = [p for p in table.columns if p.startswith("laps-sd")]
        fresh, best = table.iloc[1::2], {}
        for kind in KINDS:
            chosen = selected(table, [p for p in tests if kind_of_test(p) == kind], "laps-sd")
            best[kind] = chosen.policy
            row |= {f"{kind}_best": _parameters(chosen.policy), **columns(kind, chosen.against)}
        for kind in KINDS:
            row |= columns(f"{kind}_to_count", percent(fresh, best[kind], best["count"]))
        rows.append(row)
    return pd.DataFrame(rows)


def _sensitivity(records: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """Too early or too late, by data set: the best γ, δ by half of the seeds, and what others cost
    on the rest.
    """
    rows = []
    for dataset in inputs.datasets:
        some = inputs.trace.only(dataset)
        table = seeds_by_policy(records, trace=RECORDED, dataset=dataset)
        grid = [p for p in table.columns if p.startswith("laps-sd") and kind_of_test(p) == "range"]
        chosen, fresh = selected(table, grid, "laps-sd"), table.iloc[1::2]
        p10, p50, p90, share = quantiles(stable_rounds(some, LapsSD()))
        rows.append(
            {
                "dataset": dataset,
                "rounds": float(np.median(some.rounds)),
                "p10": p10,
                "median": p50,
                "p90": p90,
                "share": share,
                "best": _parameters(chosen.policy),
                **columns("default", reverse(chosen.against)),
                **columns("early", percent(fresh, EARLY, chosen.policy)),
                **columns("late", percent(fresh, LATE, chosen.policy)),
                "seeds": len(fresh),
            }
        )
    return pd.DataFrame(rows)


def say(evidence: Evidence, tables: Tables) -> Section:
    """Two controls, other tests, and data sets apart."""
    control, early_late = tables["controls"], tables["sensitivity"]
    pooled = control[control["dataset"] == ALL].iloc[0]
    text = [
        _shuffling(pooled, evidence.inputs),
        _counting(pooled),
        _others(pooled),
        _by_prompt(early_late),
    ]
    shown = [_table_of_tests(control), _table_of_prompts(early_late)]
    return Section("Does stability matter, or only the number of rounds?", text, shown)


def _shuffling(pooled: Any, inputs: Inputs) -> str:
    shuffle = interval_of(pooled, "shuffling")
    text = (
        "The range of a running mean shrinks as rounds go by, whatever a request does, so the"
        " paper's test may only count rounds. Two controls. First, each request's rounds are"
        " shuffled, which leaves its length and its acceptance and nothing of how acceptance"
        f" develops: LAPS-SD's latency, in percent of FCFS's, changes by {signed(shuffle.value, 2)}"
        f" points [{signed(shuffle.low, 2)}, {signed(shuffle.high, 2)}] over all data sets. "
    )
    if shuffle.low <= 0 <= shuffle.high:
        text += "No effect of the order of rounds is seen."
    else:
        text += "So the order of rounds has an effect, of that size."
    if np.ptp(inputs.trace.drafted):
        text += " (Draft lengths of this trace follow acceptance, and were shuffled with it.)"
    return text


def _counting(pooled: Any) -> str:
    count, paper, to_count = (interval_of(pooled, n) for n in ("count", "range", "range_to_count"))
    if to_count.low > 0:
        verdict = "The stability test does not even come to a fixed count."
    elif to_count.high < 0:
        verdict = "The stability test does better than any fixed count."
    else:
        verdict = "The stability test does not beat a fixed count."
    return (
        "Second, requests are called perceptible after a fixed number of rounds. The best fixed"
        f" number ({pooled['count_best']}, chosen on half of the seeds) is on the other half"
        f" {change(count)} against LAPS-SD's defaults; the best γ and δ ({pooled['range_best']}),"
        f" chosen in the same way, {change(paper)}, and against the best fixed number"
        f" {change(to_count)}. {verdict}"
    )


def _others(pooled: Any) -> str:
    better = [
        KINDS[k]
        for k in ("range", "window", "posterior")
        if interval_of(pooled, f"{k}_to_count").high < 0
    ]
    return (
        "Other tests, chosen alike, against the best fixed number: the range of windowed means"
        f" ({pooled['window_best']}) {change(interval_of(pooled, 'window_to_count'))}; the width of"
        f" a posterior ({pooled['posterior_best']})"
        f" {change(interval_of(pooled, 'posterior_to_count'))}. "
        + (
            f"So {listed(better)} does better than counting."
            if better
            else "None does better than counting."
        )
    )


def _by_prompt(early_late: pd.DataFrame) -> str:
    worst = early_late.sort_values("default").iloc[-1]
    costs = [f"{signed(r['default'])} % on {r['dataset']}" for r in early_late.to_dict("records")]
    return (
        f"By prompt type (the paper's open question): the defaults cost {listed(costs)} against the"
        " best γ and δ of the grid. Waiting (γ = 20, δ = 0.01) costs"
        f" {signed(early_late['late'].min(), 0)} to {signed(early_late['late'].max(), 0)} %,"
        f" calling everything stable early (γ = 3, δ = 0.2) {signed(early_late['early'].min())} to"
        f" {signed(early_late['early'].max())} %. The defaults are dearest on {worst['dataset']},"
        f" where the median request is called stable at round {worst['median']:.0f} of"
        f" {worst['rounds']:.0f}."
    )


def _table_of_tests(control: pd.DataFrame) -> Table:
    def points_of(row: Any) -> str:
        value, low, high = (signed(x, 2) for x in interval_of(row, "shuffling"))
        return f"{value} [{low}, {high}]"

    return Table(
        ["data set", "shuffling, points", *KINDS.values()],
        [
            [
                str(r["dataset"]),
                points_of(r),
                *(f"{r[f'{k}_best']}: {change(interval_of(r, k))}" for k in KINDS),
            ]
            for r in control.to_dict("records")
        ],
        "Each kind of test with its best parameters by half of the seeds, against LAPS-SD's"
        " defaults (γ = 5, δ = 0.05) on the other half.",
    )


def _table_of_prompts(early_late: pd.DataFrame) -> Table:
    headings = [
        "data set",
        "perceptible at p10, 50, 90",
        "share",
        "best γ, δ",
        "defaults against it",
        "early: γ = 3, δ = 0.2",
        "late: γ = 20, δ = 0.01",
    ]
    rows = [
        [
            str(r["dataset"]),
            f"{r['p10']:g}, {r['median']:g}, {r['p90']:g}",
            percentage(r["share"], 0),
            r["best"],
            *(change(interval_of(r, name)) for name in ("default", "early", "late")),
        ]
        for r in early_late.to_dict("records")
    ]
    return Table(
        headings,
        rows,
        "By prompt type: when the defaults call requests perceptible, and what calling them so too"
        " early or too late costs, against the best γ and δ (chosen on half of the seeds, all"
        " compared on the other half).",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Figure 9."""
    caption = (
        f"Simulated: {REQUESTS} requests at load {LOAD:g}, {evidence.size.stability:,} seeds. A dot"
        " each γ, δ of the grid (its size: the share of requests that become perceptible),"
        " windowed mean and posterior; the line with its 95 % band: after a fixed number of"
        " rounds, whatever acceptance does. Crosses: the same γ, δ on requests whose rounds were"
        f" shuffled. Not in the paper. {evidence.inputs.where}"
    )
    datasets = [ALL, *evidence.inputs.datasets]
    return [
        Figure(
            9,
            "Latency by when requests are called perceptible",
            caption,
            lambda: plot_latency_by_round(tables["stability"], datasets, KINDS),
        )
    ]


QUESTION = Question("figure 9 and whether stability matters", find, say, draw, needs, derives)
