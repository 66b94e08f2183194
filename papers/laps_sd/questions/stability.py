"""Does LAPS-SD's stability test matter, or only the number of rounds?"""

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
    "range": "γ, δ (the paper's test)",
    "count": "a fixed number of rounds",
    "window": "range of windowed means",
    "posterior": "width of a posterior",
}


def derives(inputs: Inputs, size: Size) -> dict[str, Callable[[], Trace]]:
    """Return the recorded trace with the rounds of each request shuffled."""
    return {SHUFFLED: lambda: shuffled(inputs.trace, np.random.default_rng(0))}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of tests of every kind, by data set, on recorded and on shuffled rounds."""
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
    """Return the kind of stability test of a LAPS-SD spec, a key of `KINDS`."""
    policy = _laps_sd(spec)
    return "count" if policy.count else policy.stability


def _laps_sd(spec: str) -> LapsSD:
    policy = parse_policy(spec)
    assert isinstance(policy, LapsSD)
    return policy


def _parameters(spec: str) -> str:
    """Return γ and δ, or the number of rounds, of a LAPS-SD spec as text."""
    policy = _laps_sd(spec)
    if policy.count:
        return f"{policy.count} round{'s' if policy.count > 1 else ''}"
    window = "" if policy.stability == "posterior" else f"γ = {policy.gamma}, "
    return f"{window}δ = {policy.delta:g}"


def find(evidence: Evidence) -> Tables:
    """Return the results of every test, two controls, and the cost of too early and too late."""
    records, inputs = evidence.records["stability"], evidence.inputs
    traces = {RECORDED: inputs.trace, SHUFFLED: evidence.trace(SHUFFLED)}
    return {
        "stability": _tests(records, traces),
        "controls": _controls(records, inputs),
        "sensitivity": _sensitivity(records, inputs),
    }


def _tests(records: pd.DataFrame, traces: dict[str, Trace]) -> pd.DataFrame:
    """Return the results of every stability test, by data set and trace.

    `round`: median round at which requests become perceptible; `share`: share of requests that do;
    `percent`: difference in mean latency to FCFS.
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
    """Return the controls, by data set.

    `shuffling`: change of LAPS-SD's mean latency in percent of FCFS's, in percentage points, when
    rounds are shuffled. For each kind of test: the best parameters on half of the seeds and, on the
    other half, the difference in percent to LAPS-SD's defaults and (`_to_count`) to the best fixed
    number of rounds.
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
    """Return the cost of calling requests perceptible too early or too late, by data set.

    The best γ and δ are selected on half of the seeds, and all are compared on the other half.
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
    """Return the results of two controls, of other tests, and by data set."""
    control, early_late = tables["controls"], tables["sensitivity"]
    pooled = control[control["dataset"] == ALL].iloc[0]
    text = [
        _shuffling(pooled, evidence.inputs),
        _counting(pooled),
        _others(pooled),
        _by_prompt(early_late),
    ]
    shown = [_table_of_tests(control), _table_of_prompts(early_late)]
    return Section("Does the stability test matter, or only the number of rounds?", text, shown)


def _shuffling(pooled: Any, inputs: Inputs) -> str:
    shuffle = interval_of(pooled, "shuffling")
    text = (
        "The range of a running mean shrinks with the number of rounds for every request, so the"
        " paper's test may in effect only count rounds. Two controls test this. In the first, the"
        " rounds of each request are shuffled. This keeps its length and mean acceptance, and"
        " removes any trend of its acceptance. Over all data sets, shuffling changes LAPS-SD's mean"
        f" latency in percent of FCFS's by {signed(shuffle.value, 2)} percentage points"
        f" [{signed(shuffle.low, 2)}, {signed(shuffle.high, 2)}]. "
    )
    if shuffle.low <= 0 <= shuffle.high:
        text += "The effect of the order of rounds is not significant."
    else:
        text += "The effect of the order of rounds is significant."
    if np.ptp(inputs.trace.drafted):
        text += " Draft lengths in this trace depend on acceptance, and were shuffled with it."
    return text


def _counting(pooled: Any) -> str:
    count, paper, to_count = (interval_of(pooled, n) for n in ("count", "range", "range_to_count"))
    if to_count.low > 0:
        verdict = "The paper's test is significantly slower than a fixed number of rounds."
    elif to_count.high < 0:
        verdict = "The paper's test is significantly faster than any fixed number of rounds."
    else:
        verdict = "The paper's test is not significantly better than a fixed number of rounds."
    return (
        "In the second control, requests become perceptible after a fixed number of rounds."
        " Parameters are selected on half of the seeds, and these differences in mean latency are"
        f" from the other half. The best fixed number ({pooled['count_best']}) is at"
        f" {change(count)} vs. LAPS-SD's defaults. The best γ and δ ({pooled['range_best']}) are at"
        f" {change(paper)} vs. the defaults, and at {change(to_count)} vs. the best fixed number."
        f" {verdict}"
    )


def _others(pooled: Any) -> str:
    better = [
        KINDS[k]
        for k in ("range", "window", "posterior")
        if interval_of(pooled, f"{k}_to_count").high < 0
    ]
    return (
        "Other tests, selected in the same way, vs. the best fixed number: the range of windowed"
        f" means ({pooled['window_best']}) {change(interval_of(pooled, 'window_to_count'))}; the"
        f" width of a posterior ({pooled['posterior_best']})"
        f" {change(interval_of(pooled, 'posterior_to_count'))}. Significantly faster than the best"
        f" fixed number of rounds: {listed(better)}."
    )


def _by_prompt(early_late: pd.DataFrame) -> str:
    worst = early_late.sort_values("default").iloc[-1]
    costs = [f"{signed(r['default'])} % on {r['dataset']}" for r in early_late.to_dict("records")]
    return (
        "An open question of the paper is how stability depends on the type of prompt. Compared"
        f" with the best γ and δ of the grid, the defaults change mean latency by {listed(costs)}."
        " A strict test (γ = 20, δ = 0.01) changes it by"
        f" {signed(early_late['late'].min(), 0)} to {signed(early_late['late'].max(), 0)} %, and a"
        f" lenient one (γ = 3, δ = 0.2) by {signed(early_late['early'].min())} to"
        f" {signed(early_late['early'].max())} %. The defaults lose most on {worst['dataset']},"
        f" where the median request becomes perceptible at round {worst['median']:.0f} of"
        f" {worst['rounds']:.0f}."
    )


def _table_of_tests(control: pd.DataFrame) -> Table:
    def points_of(row: Any) -> str:
        value, low, high = (signed(x, 2) for x in interval_of(row, "shuffling"))
        return f"{value} [{low}, {high}]"

    return Table(
        ["data set", "shuffling, percentage points", *KINDS.values()],
        [
            [
                str(r["dataset"]),
                points_of(r),
                *(f"{r[f'{k}_best']}: {change(interval_of(r, k))}" for k in KINDS),
            ]
            for r in control.to_dict("records")
        ],
        "Each kind of test with its best parameters, selected on half of the seeds, and its"
        " difference in mean latency to LAPS-SD's defaults (γ = 5, δ = 0.05) on the other half.",
    )


def _table_of_prompts(early_late: pd.DataFrame) -> Table:
    headings = [
        "data set",
        "round: p10, p50, p90",
        "share",
        "best γ, δ",
        "defaults",
        "lenient: γ = 3, δ = 0.2",
        "strict: γ = 20, δ = 0.01",
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
        "By type of prompt: percentiles of the round at which requests become perceptible with the"
        " defaults, and the share of requests that do. Last three columns: difference in mean"
        " latency to the best γ and δ, which are selected on half of the seeds; all are compared on"
        " the other half.",
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 9."""
    caption = (
        "Simulated: difference in mean latency to FCFS in percent (vertical axis) by the median"
        " round at which requests become perceptible (horizontal axis, logarithmic), one panel per"
        " data set. Line with 95 % band: requests become perceptible after a fixed number of"
        " rounds. Dots: the paper's test with each γ and δ of the grid; the size of a dot is the"
        " share of requests that become perceptible. Triangles and diamonds: other tests. Dots"
        " near the line: the test does what counting rounds does. Crosses: the paper's test on"
        f" requests whose rounds were shuffled. {REQUESTS} requests at load {LOAD:g},"
        f" {evidence.size.stability:,} seeds. Not in the paper. {evidence.inputs.where}"
    )
    datasets = [ALL, *evidence.inputs.datasets]
    return [
        Figure(
            9,
            "Mean latency by the round at which requests become perceptible",
            caption,
            lambda: plot_latency_by_round(tables["stability"], datasets, KINDS),
        )
    ]


QUESTION = Question("figure 9 and the effect of stability", find, say, draw, needs, derives)
