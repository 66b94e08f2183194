"""The questions beyond the paper's claims, answered from the findings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sim.experiment.statistics import Interval
from sim.figures.latency import NAMES
from sim.reproduce import findings as find
from sim.reproduce.content import Section, Table, change, listed, percentage, signed
from sim.reproduce.plan import ALL, BASELINES, LOAD, PREDICTOR, READINGS, Inputs, Size

OTHERS = ("lp-srpt", "lp-sjf", "las-round", "gittins", "las", "fcfs")


def _interval(row: Any, name: str = "percent", low: str = "low", high: str = "high") -> Interval:
    return Interval(float(row[name]), float(row[low]), float(row[high]))


def _of(row: Any, name: str) -> Interval:
    return Interval(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))


def readings(rows: pd.DataFrame) -> Section:
    """What the paper leaves open inside LAPS-SD: one table, the effect of each choice."""
    own = rows[rows["policy"].str.startswith("laps-sd:")].copy()
    own["key"] = own["policy"].str.partition(":")[2]
    own = own.set_index("key").loc[list(READINGS)]
    table = Table(
        ["choice", "parameter", "mean latency"],
        [[READINGS[str(k)], str(k), change(_interval(r))] for k, r in own.iterrows()],
        "Each other reading against LAPS-SD as we read it, 95 % intervals over seeds: below 0 the other is faster.",
    )
    faster = [READINGS[str(k)] for k, r in own.iterrows() if r["high"] < 0]
    matters = [f"{READINGS[str(k)]} ({signed(r['percent'])} %)" for k, r in own.iterrows() if r["low"] > 5]
    small = int((own["percent"].abs() < 2).sum())
    others = rows[~rows["policy"].str.startswith("laps-sd:")].set_index("policy")
    text = [
        "Neither thresholds nor ties, preemption inside a queue or what happens when an output outruns its "
        f"prediction are spelled out in what is known of the paper. {small} of {len(own)} other choices change mean "
        "latency by less than 2 %."
        + (f" What hurts: {listed(matters)}." if matters else ""),
        f"Faster than our reading beyond chance: {listed(faster)}. The reading was fixed before, and stays.",
        "Against other policies in the same runs: "
        + listed([f"{NAMES[p]} {change(_interval(others.loc[p]))}" for p in OTHERS])
        + ". (Gittins here knows the past sizes and no prediction.)",
    ]  # fmt: skip
    return Section("What the paper leaves open, choice by choice", text, [table], (8,))


def server(tables: dict[str, tuple[str, pd.DataFrame]]) -> Section:
    """What the paper leaves open of the server: lengths, load, memory, moves."""
    policies = [*BASELINES, "lp-srpt"]
    body = []
    for name, (column, rows) in tables.items():
        for value, some in rows.groupby(column, sort=False, dropna=False):
            found = some.set_index("policy")
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            body.append([name, shown, *(change(_interval(found.loc[p])) for p in policies),
                         percentage(float(some["switching_share"].iloc[0]), 2)])  # fmt: skip
    table = Table(
        ["choice", "value", *(f"against {NAMES[p]}" for p in policies), "switching share"], body,
        "LAPS-SD's mean latency against the others as one choice varies; the rest as in the settings (load "
        f"{LOAD:g}, lengths {PREDICTOR}, one KV slot, moves as measured). Moves x 0: free switching; KV slots 0: no "
        "limit.",
    )  # fmt: skip
    text = []
    if "length predictor" in tables:
        rows = tables["length predictor"][1]
        text.append(_best_by_predictor(rows))
        if "learned" in set(rows["length_predictor"]):
            own = rows[rows["length_predictor"] == "learned"].set_index("policy")
            against = listed([f"{change(_interval(own.loc[p]))} against {NAMES[p]}" for p in policies])
            ahead = [NAMES[p] for p in policies if _interval(own.loc[p]).low > 0]
            text.append(
                f"With the length predictor that was really learnt on this trace, LAPS-SD is {against}; "
                f"{listed(ahead) if ahead else 'nothing'} did better."
            )
    if "moves" in tables:
        rows = tables["moves"][1]
        dear = rows[rows["swap_scale"] == rows["swap_scale"].max()].set_index("policy")
        text.append(
            f"If one switch cost the paper's 14 % at 500 tokens (moves x {rows['swap_scale'].max():g}), LAPS-SD "
            f"would spend {percentage(float(dear['switching_share'].iloc[0]), 0)} of the busy time on switching and "
            f"be {change(_interval(dear.loc['fcfs']))} against FCFS and {change(_interval(dear.loc['lp-sjf']))} "
            "against LP-SJF, which never preempts."
        )
    return Section("What the paper leaves open of the server", text, [table])


def _best_by_predictor(rows: pd.DataFrame) -> str:
    """Which of the five is best with which predictor."""
    best: dict[str, list[str]] = {}
    for predictor, some in rows.groupby("length_predictor", sort=False):
        top = some.sort_values("percent").iloc[-1]
        best.setdefault(NAMES[str(top["policy"])] if top["percent"] > 0 else "LAPS-SD", []).append(str(predictor))
    return (
        "Best of the five, by length predictor: "
        + "; ".join(f"{name} with {listed(predictors)}" for name, predictors in best.items())
        + ". (`regressed:R`: calibrated predictions of correlation R with the truth, which shrink towards the mean.)"
    )


def stability(control: pd.DataFrame, early_late: pd.DataFrame, inputs: Inputs) -> Section:
    """The referee's controls, and sensitivity by data set."""
    pooled = control[control["dataset"] == ALL].iloc[0]
    shuffle, count, paper = _of(pooled, "shuffling"), _of(pooled, "count"), _of(pooled, "range")
    shuffling = (
        "The range of a running mean shrinks as rounds go by, whatever a request does, so the paper's test may only "
        "count rounds. Two controls. First, each request's rounds are shuffled, which leaves its length and its "
        "acceptance and nothing of how acceptance develops: LAPS-SD's latency, in percent of FCFS's, changes by "
        f"{signed(shuffle.value, 2)} points [{signed(shuffle.low, 2)}, {signed(shuffle.high, 2)}] over all data "
        "sets. "
    )
    if shuffle.low <= 0 <= shuffle.high:
        shuffling += "No effect of the order of rounds is seen."
    else:
        shuffling += "So the order of rounds has an effect, of that size."
    if np.ptp(inputs.trace.drafted):
        shuffling += " (Draft lengths of this trace follow acceptance, and were shuffled with it.)"
    counting = (
        "Second, requests are called perceptible after a fixed number of rounds. The best fixed number "
        f"({pooled['count_best']}, chosen on half of the seeds) is on the other half {change(count)} against "
        f"LAPS-SD's defaults; the best γ and δ ({pooled['range_best']}), chosen in the same way, {change(paper)}, "
        f"and against the best fixed number {change(_of(pooled, 'range_to_count'))}. "
        f"{_count_verdict(_of(pooled, 'range_to_count'))}"
    )
    others = (
        "Other tests, chosen alike, against the best fixed number: the range of windowed means "
        f"({pooled['window_best']}) {change(_of(pooled, 'window_to_count'))}; the width of a posterior "
        f"({pooled['posterior_best']}) {change(_of(pooled, 'posterior_to_count'))}. {_better_test(pooled)}"
    )
    worst = early_late.sort_values("default").iloc[-1]
    costs = [f"{signed(r['default'])} % on {r['dataset']}" for r in early_late.to_dict("records")]
    by_prompt = (
        f"By prompt type (the paper's open question): the defaults cost {listed(costs)} against the best γ and δ of "
        f"the grid. Waiting (γ = 20, δ = 0.01) costs {signed(early_late['late'].min(), 0)} to "
        f"{signed(early_late['late'].max(), 0)} %, calling everything stable early (γ = 3, δ = 0.2) "
        f"{signed(early_late['early'].min())} to {signed(early_late['early'].max())} %. The defaults are dearest on "
        f"{worst['dataset']}, where the median request is called stable at round {worst['median']:.0f} of "
        f"{worst['rounds']:.0f}."
    )
    return Section(
        "Does stability matter, or only the number of rounds?", [shuffling, counting, others, by_prompt],
        [_table_of_tests(control), _table_of_prompts(early_late)], (9,),
    )  # fmt: skip


def _table_of_tests(control: pd.DataFrame) -> Table:
    rows = []
    for r in control.to_dict("records"):
        shuffle = f"{signed(r['shuffling'], 2)} [{signed(r['shuffling_low'], 2)}, {signed(r['shuffling_high'], 2)}]"
        rows.append([str(r["dataset"]), shuffle, *(f"{r[f'{k}_best']}: {change(_of(r, k))}" for k in find.KINDS)])
    return Table(
        ["data set", "shuffling, points", *find.KINDS.values()], rows,
        "Each kind of test with its best parameters by half of the seeds, against LAPS-SD's defaults (γ = 5, δ = "
        "0.05) on the other half.",
    )  # fmt: skip


def _table_of_prompts(early_late: pd.DataFrame) -> Table:
    headings = ["data set", "perceptible at p10, 50, 90", "share", "best γ, δ", "defaults against it",
                "early: γ = 3, δ = 0.2", "late: γ = 20, δ = 0.01"]  # fmt: skip
    rows = [
        [str(r["dataset"]), f"{r['p10']:g}, {r['median']:g}, {r['p90']:g}", percentage(r["share"], 0), r["best"],
         *(change(_of(r, name)) for name in ("default", "early", "late"))]
        for r in early_late.to_dict("records")
    ]  # fmt: skip
    return Table(
        headings, rows,
        "By prompt type: when the defaults call requests perceptible, and what calling them so too early or too "
        "late costs, against the best γ and δ (chosen on half of the seeds, all compared on the other half).",
    )  # fmt: skip


def _count_verdict(against: Interval) -> str:
    if against.low > 0:
        return "The stability test does not even come to a fixed count."
    if against.high < 0:
        return "The stability test does better than any fixed count."
    return "The stability test does not beat a fixed count."


def _better_test(pooled: Any) -> str:
    better = [find.KINDS[k] for k in ("range", "window", "posterior") if _of(pooled, f"{k}_to_count").high < 0]
    if better:
        return f"So {listed(better)} does better than counting."
    return "None does better than counting."


def winners(cells: pd.DataFrame, inputs: Inputs, size: Size) -> Section:
    """Where LAPS-SD wins."""
    wins = cells[(cells["best"] == "laps-sd") & (cells["margin_low"] > 0)]
    total = len(cells)
    tally = cells["best"].value_counts()
    text = [
        f"The fitted acceptance model ({listed([f'{s:g}' for s in size.spreads])} times the spread of the logits of "
        "acceptance between requests that was recorded; 1 is the trace) makes traces on which length errors, load "
        f"and the cost of moving caches vary: {total} cells. Best of the policies one could deploy: "
        f"{listed([f'{NAMES[str(p)]} in {n}' for p, n in tally.items()])}.",
        _where(wins, cells),
    ]
    measured = cells[cells["swap_scale"] == 1]
    near = measured[measured["spread"] == 1]
    best_case = cells.sort_values("laps_sd").iloc[0]
    text.append(
        f"Where the recorded spread is kept and moves cost what they do, LAPS-SD is {signed(near['laps_sd'].min())} "
        f"to {signed(near['laps_sd'].max())} % against the best of the others; its best cell of all is "
        f"{change(_of(best_case, 'laps_sd'))} (spread {best_case['spread']:g}, length error {best_case['error']:g}, "
        f"load {best_case['load']:g}). The best policy of a cell is {100 * (cells['over_bound'].min() - 1):.1f} to "
        f"{100 * (cells['over_bound'].max() - 1):.0f} % above the bound."
    )  # fmt: skip
    if inputs.learned_error == inputs.learned_error:
        text.append(
            f"Stars mark this trace: spread 1 with the error assumed in the claims ({PREDICTOR.partition(':')[2]}) "
            f"and with that of the predictor learnt on it ({inputs.learned_error:.2f}; its errors shrink towards the "
            "mean, those of the map do not, so the second star only says how large they are)."
        )
    return Section("Where LAPS-SD wins", text, (), (10, 11))


def _where(wins: pd.DataFrame, cells: pd.DataFrame) -> str:
    if wins.empty:
        return "LAPS-SD is the best beyond chance in none of them."
    spread = sorted(wins["spread"].unique())
    moves = sorted(wins["swap_scale"].unique())
    errors = sorted(wins["error"].unique())
    every = cells["swap_scale"].nunique() > 1 and len(moves) == 1
    return (
        f"LAPS-SD is the best beyond chance in {len(wins)}: all at spreads of "
        f"{listed([f'{s:g}' for s in spread], 'or')}, length errors from {errors[0]:g} to "
        f"{errors[-1]:g}{', and never where moves are dear' if every and moves[0] == 1 else ''}."
    )  # fmt: skip


def acceptance(rows: pd.DataFrame, size: Size) -> Section:
    """What knowing acceptance buys beyond knowing length."""
    at = rows[(rows["load"] == LOAD) & (rows["error"] == 0)].set_index("spread")
    real, wide = at.loc[1.0], at.loc[max(size.spreads)]
    text = [
        "LP-SJF that is told every request's true mean acceptance, against plain LP-SJF, both with true lengths: "
        f"{change(_of(real, 'sjf'))} at the recorded spread, {change(_of(wide, 'sjf'))} at {max(size.spreads):g} "
        "times that. Preemptive: SRPT, which knows true times, against LP-SRPT with true lengths: "
        f"{change(_of(real, 'srpt'))} and {change(_of(wide, 'srpt'))}. That is about all that a policy could gain "
        "here by foreseeing acceptance once lengths are known.",
    ]  # fmt: skip
    return Section("What knowing acceptance buys beyond knowing length", text, (), (12,))


def preemption(recorded: pd.DataFrame, stretched: pd.DataFrame) -> Section:
    """When is LAPS-SD better than LP-SJF?"""
    rows = pd.concat([recorded.assign(of=recorded["dataset"]), stretched.assign(of="generated")]).sort_values("cv")
    first, last = stretched.iloc[0], stretched.iloc[-1]
    better, worse = rows[rows["both_high"] < 0], rows[rows["both_low"] > 0]
    text = [
        "LAPS-SD differs from LP-SJF in two things: it preempts, and it has to get to know requests first. LP-SRPT "
        "preempts and gets to know nothing. So LAPS-SD against LP-SJF is the product of LP-SRPT against LP-SJF, "
        "what preemption buys, and LAPS-SD against LP-SRPT, what learning costs. Beside the recorded data sets, "
        "output lengths are stretched about their median, with acceptance from the fitted model: as the CV of "
        f"requests' times (standard deviation over mean) goes from {first['cv']:.2f} to {last['cv']:.2f}, "
        f"preemption goes from {signed(first['preemption'])} to {signed(last['preemption'])} % and learning from "
        f"{signed(first['learning'])} to {signed(last['learning'])} %.",
        (f"LAPS-SD is faster than LP-SJF beyond chance from a CV of {better['cv'].min():.2f} on" if len(better) else
         "LAPS-SD is nowhere faster than LP-SJF beyond chance")
        + (f", and slower up to one of {worse['cv'].max():.2f}." if len(worse) else ", and nowhere slower."),
    ]  # fmt: skip
    table = Table(
        ["requests", "CV of times", "preemption: LP-SRPT against LP-SJF", "learning: LAPS-SD against LP-SRPT",
         "LAPS-SD against LP-SJF"],
        [[str(r["of"]), f"{r['cv']:.2f}", *(change(_of(r, n)) for n in ("preemption", "learning", "both"))]
         for r in rows.to_dict("records")],
        f"30 requests at load {LOAD:g}, lengths {PREDICTOR}.",
    )  # fmt: skip
    return Section("When is LAPS-SD better than LP-SJF?", text, [table], (13,))


def tails(rows: pd.DataFrame, policies: Sequence[str]) -> Section:
    """What a mean hides."""
    found = rows.set_index("policy").loc[list(policies)]
    table = Table(
        ["policy", "mean latency, s", "p99, s", "mean slowdown", "worst slowdown", "preemptions a run"],
        [[NAMES[str(p)], f"{r['mean_latency_s']:.3f}", f"{r['p99_latency_s']:.2f}", f"{r['mean_slowdown']:.2f}",
          f"{r['max_slowdown']:.1f}", f"{r['preemptions']:.1f}"] for p, r in found.iterrows()],
        f"30 requests at load {LOAD:g}, all data sets: means over seeds of each run's figure (the p99 of 30 "
        "latencies is close to their maximum). Slowdown: latency over the time alone.",
    )  # fmt: skip
    sd, fcfs = found.loc["laps-sd"], found.loc["fcfs"]
    text = [
        f"The slowest of LAPS-SD's 30 requests take {sd['p99_latency_s'] / fcfs['p99_latency_s']:.2f} times as long "
        f"as the slowest of FCFS's ({sd['p99_latency_s']:.2f} s against {fcfs['p99_latency_s']:.2f} s); the worst "
        f"slowdown is {sd['max_slowdown']:.1f} against {fcfs['max_slowdown']:.1f}.",
    ]
    return Section("What the mean hides", text, [table])
