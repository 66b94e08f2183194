"""The questions beyond the paper's claims, answered from the findings."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sim.reproduce import findings as find
from sim.reproduce.content import Section, Table, change, listed, percentage, signed
from sim.reproduce.plan import ALL, BASELINES, LOAD, PREDICTOR, READINGS, Inputs, Size
from sim.statistics import Interval

NAMES = {"fcfs": "FCFS", "las": "LAS", "lp-sjf": "LP-SJF", "lp-srpt": "LP-SRPT", "laps-sd": "LAPS-SD", "srpt": "SRPT",
         "las-round": "LAS every round", "gittins": "Gittins", "lp-sjf-mean": "LP-SJF with acceptance"}  # fmt: skip


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
        f"Neither thresholds nor ties, preemption inside a queue or what happens when an output outruns its "
        f"prediction are "
        f"spelled out in what is known of the paper. {small} of {len(own)} other choices change mean latency by less "
        f"than 2 %."
        + (f" What hurts: {listed(matters)}." if matters else ""),
        f"Faster than our reading beyond chance: {listed(faster)}. None is taken over: the reading was fixed before.",
        "Against other policies in the same runs: "
        + listed([f"{NAMES[p]} {change(_interval(others.loc[p]))}" for p in ("lp-srpt", "lp-sjf", "las-round", "gittins", "las", "fcfs")])
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
        f"LAPS-SD's mean latency against the others as one choice varies; the rest as in the settings (load "
        f"{LOAD:g}, lengths "
        f"{PREDICTOR}, one KV slot, moves as measured). Moves x 0: free switching; KV slots 0: no limit.",
    )  # fmt: skip
    text = []
    if "length predictor" in tables:
        rows = tables["length predictor"][1]
        if "learned" in set(rows["length_predictor"]):
            own = rows[rows["length_predictor"] == "learned"].set_index("policy")
            gain = _interval(own.loc["fcfs"])
            text.append(
                f"With the length predictor that was really learnt on this trace, LAPS-SD is {change(gain)} against "
                f"FCFS, "
                f"{change(_interval(own.loc['las']))} against LAS and {change(_interval(own.loc['lp-srpt']))} "
                f"against LP-SRPT: how "
                "well lengths are predicted decides more than anything else here."
            )
    if "moves" in tables:
        rows = tables["moves"][1]
        dear = rows[rows["swap_scale"] == rows["swap_scale"].max()].set_index("policy")
        text.append(
            f"If one switch cost the paper's 14 % at 500 tokens (moves x {rows['swap_scale'].max():g}), LAPS-SD "
            f"would spend "
            f"{percentage(float(dear['switching_share'].iloc[0]), 0)} of the busy time on switching and be "
            f"{change(_interval(dear.loc['fcfs']))} against FCFS and {change(_interval(dear.loc['lp-sjf']))} against "
            f"LP-SJF, which never "
            "preempts."
        )
    return Section("What the paper leaves open of the server", text, [table])


def stability(control: pd.DataFrame, early_late: pd.DataFrame) -> Section:
    """The referee's controls, and sensitivity by data set."""
    pooled = control[control["dataset"] == ALL].iloc[0]
    shuffle, count, paper = _of(pooled, "shuffling"), _of(pooled, "count"), _of(pooled, "range")
    text = [
        f"The range of a running mean shrinks as rounds go by, whatever a request does, so the paper's test may only "
        f"count rounds. "
        f"Two controls. First, each request's rounds are shuffled, which leaves its length and its acceptance and "
        f"nothing of how "
        f"acceptance develops: LAPS-SD's latency, in percent of FCFS's, changes by {signed(shuffle.value, 2)} points "
        f"[{signed(shuffle.low, 2)}, {signed(shuffle.high, 2)}] over all data sets. "
        + ("The test sees nothing that shuffling takes away." if shuffle.low <= 0 <= shuffle.high else
           "So the order of rounds has some effect, of that size."),
        f"Second, requests are called perceptible after a fixed number of rounds. The best fixed number "
        f"({pooled['count_best']}, "
        f"chosen on half of the seeds) is on the other half {change(count)} against LAPS-SD's defaults; the best γ "
        f"and δ "
        f"({pooled['range_best']}), chosen in the same way, {change(paper)}. "
        + _count_verdict(count, paper),
        f"Other tests, chosen alike: the range of windowed means "
        f"({pooled['window_best'].replace('stability=window,', '').replace(',stability=window', '')}) "
        f"{change(_of(pooled, 'window'))}; the width of a posterior "
        f"({pooled['posterior_best'].replace(',stability=posterior', '')}) {change(_of(pooled, 'posterior'))}. "
        + _better_test(pooled),
    ]  # fmt: skip
    headings = ["data set", "shuffling, points", *find.KINDS.values()]
    body = [
        [str(r["dataset"]),
         f"{signed(r['shuffling'], 2)} [{signed(r['shuffling_low'], 2)}, {signed(r['shuffling_high'], 2)}]",
         *(f"{r[f'{kind}_best']}: {change(_of(pd.Series(r), kind))}".replace(",stability=window", "").replace(",stability=posterior", "")
           for kind in find.KINDS)]
        for r in control.to_dict("records")
    ]  # fmt: skip
    first = Table(headings, body, "Each kind of test with its best parameters by half of the seeds, against LAPS-SD's defaults (γ = 5, "
                  "δ = 0.05) on the other half.")  # fmt: skip
    second = Table(
        ["data set", "perceptible at p10, 50, 90", "share", "best γ, δ", "defaults against it", "earlier: γ = 3, δ = 0.2", "later: γ = 20, δ = 0.01"],
        [[r["dataset"], f"{r['p10']:g}, {r['median']:g}, {r['p90']:g}", percentage(r["share"], 0), r["best"],
          *(change(_of(pd.Series(r), n)) for n in ("default", "early", "late"))] for r in early_late.to_dict("records")],
        "By prompt type: when the defaults call requests perceptible, and what calling them so too early or too late "
        "costs, against "
        "the best γ and δ (chosen on half of the seeds, all compared on the other half).",
    )  # fmt: skip
    names = list(early_late["dataset"])
    worst = early_late.sort_values("default").iloc[-1]
    text.append(
        f"By prompt type (the paper's open question): the defaults cost "
        f"{listed([f'{signed(v)} % on {n}' for n, v in zip(names, early_late['default'], strict=True)])} "
        f"against the best γ and δ of the grid. The dearest mistake is to wait: γ = 20, δ = 0.01 costs "
        f"{signed(early_late['late'].min(), 0)} to {signed(early_late['late'].max(), 0)} %, γ = 3, δ = 0.2 at most "
        f"{signed(early_late['early'].max())} %. {str(worst['dataset']).capitalize()} suffers most, where the "
        f"running mean stays unstable "
        f"longest (median round {worst['median']:.0f}) while outputs are not longer in proportion."
    )  # fmt: skip
    return Section("Does stability matter, or only the number of rounds?", text, [first, second], (9,))


def _count_verdict(count: Interval, paper: Interval) -> str:
    if count.high < paper.low:
        return "LAPS-SD's stability test does not even come to a fixed count."
    if count.low > paper.high:
        return "The stability test does better than any fixed count."
    return "The stability test does not beat the fixed count."


def _better_test(pooled: "pd.Series[float]") -> str:
    count = _of(pooled, "count")
    better = [find.KINDS[k] for k in ("range", "window", "posterior") if _of(pooled, k).high < count.low]
    if better:
        return f"So {listed(better)} does better than counting."
    return "None of them does better than counting: what there is to know of acceptance here is known after a few rounds."


def winners(cells: pd.DataFrame, inputs: Inputs, size: Size) -> Section:
    """Where LAPS-SD wins."""
    wins = cells[(cells["best"] == "laps-sd") & (cells["margin_low"] > 0)]
    total = len(cells)
    tally = cells["best"].value_counts()
    text = [
        f"The fitted acceptance model ({listed([f'{s:g}' for s in size.spreads])} times the spread of the logits of "
        f"acceptance between "
        f"requests that was recorded; 1 is the trace) makes traces on which length errors, load and the cost of "
        f"moving caches vary: "
        f"{total} cells. Best of the policies one could deploy: "
        f"{listed([f'{NAMES[str(p)]} in {n}' for p, n in tally.items()])}.",
        _where(wins, cells),
    ]
    measured = cells[cells["swap_scale"] == 1]
    near = measured[measured["spread"] == 1]
    best_case = cells.sort_values("laps_sd").iloc[0]
    text.append(
        f"Where the recorded spread is kept and moves cost what they do, LAPS-SD is {signed(near['laps_sd'].min())} "
        f"to "
        f"{signed(near['laps_sd'].max())} % against the best of the others; its best cell of all is "
        f"{change(_of(best_case, 'laps_sd'))} "
        f"(spread {best_case['spread']:g}, length error {best_case['error']:g}, load {best_case['load']:g}). The "
        f"best policy of a cell is "
        f"{100 * (cells['over_bound'].min() - 1):.1f} to {100 * (cells['over_bound'].max() - 1):.0f} % above the "
        f"bound: the farther, the less is known of "
        "lengths."
    )  # fmt: skip
    if inputs.learned_error == inputs.learned_error:
        text.append(
            f"Rings mark this trace: spread 1 with the error assumed in the claims ({PREDICTOR.partition(':')[2]}) "
            f"and with that of the "
            f"predictor learnt on it ({inputs.learned_error:.2f})."
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
        f"{listed([f'{s:g}' for s in spread], 'or')}, length errors from "
        f"{errors[0]:g} to {errors[-1]:g}" + (", and never where moves are dear" if every and moves[0] == 1 else "") + "."
    )  # fmt: skip


def acceptance(rows: pd.DataFrame, size: Size) -> Section:
    """What knowing acceptance buys beyond knowing length."""
    at = rows[(rows["load"] == LOAD) & (rows["error"] == 0)].set_index("spread")
    real, wide = at.loc[1.0], at.loc[max(size.spreads)]
    text = [
        f"LP-SJF that is told every request's true mean acceptance, against plain LP-SJF, both with true lengths: "
        f"{change(_of(real, 'sjf'))} at the recorded spread, {change(_of(wide, 'sjf'))} at {max(size.spreads):g} "
        f"times that. Preemptive: SRPT, "
        f"which knows true times, against LP-SRPT with true lengths: {change(_of(real, 'srpt'))} and "
        f"{change(_of(wide, 'srpt'))}. "
        "That is all that any policy could gain here by foreseeing acceptance once lengths are known.",
    ]  # fmt: skip
    return Section("What knowing acceptance buys beyond knowing length", text, (), (12,))


def tails(rows: pd.DataFrame, policies: Sequence[str]) -> Section:
    """What a mean hides."""
    found = rows.set_index("policy").loc[list(policies)]
    table = Table(
        ["policy", "mean latency, s", "p99, s", "mean slowdown", "worst slowdown", "preemptions a run"],
        [[NAMES[str(p)], f"{r['mean_latency_s']:.3f}", f"{r['p99_latency_s']:.2f}", f"{r['mean_slowdown']:.2f}", f"{r['max_slowdown']:.1f}",
          f"{r['preemptions']:.1f}"] for p, r in found.iterrows()],
        f"30 requests at load {LOAD:g}, all data sets: means over seeds of each run's figure (the p99 of 30 "
        f"latencies is close to their "
        "maximum). Slowdown: latency over the time alone.",
    )  # fmt: skip
    sd, fcfs = found.loc["laps-sd"], found.loc["fcfs"]
    worse = sd["p99_latency_s"] > fcfs["p99_latency_s"]
    text = [
        f"LAPS-SD's slowest requests take {sd['p99_latency_s'] / fcfs['p99_latency_s']:.2f} times as long as FCFS's "
        f"({sd['p99_latency_s']:.2f} s "
        f"against {fcfs['p99_latency_s']:.2f} s): "
        f"{'long requests pay for the mean' if worse else 'the mean is not bought with the tail'}. In slowdown "
        f"it is the other way: {sd['max_slowdown']:.1f} against {fcfs['max_slowdown']:.1f}."
        if worse else
        f"LAPS-SD's slowest requests take {sd['p99_latency_s'] / fcfs['p99_latency_s']:.2f} times as long as FCFS's.",
    ]  # fmt: skip
    return Section("What the mean hides", text, [table])
