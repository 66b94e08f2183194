"""The paper's claims against what was found. Verdicts follow rules that stand here, before any run."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sim.experiment.statistics import Interval
from sim.figures.latency import NAMES
from sim.reproduce import findings as find
from sim.reproduce.content import HOLDS, NOT, PART, Claim, Table, change, listed, percentage, signed
from sim.reproduce.plan import (
    ALL,
    BASELINES,
    LOAD,
    PAPER_BEST_K,
    PAPER_ERROR,
    PAPER_LATENCY,
    PAPER_SWITCH_TOKENS,
    PAPER_SWITCHING,
    PREDICTOR,
    Inputs,
)

AT = 30  # requests at which the claim on latency is judged
SURE_PART = 0.95  # of resamples


def latency_claim(rows: pd.DataFrame, inputs: Inputs) -> Claim:
    """39 % lower mean latency. Reached against a baseline if the interval goes to 39 % or beyond.

    Holds if reached against each of the paper's baselines over all data sets; in part if against one anywhere.
    """
    some = rows[(rows["requests"] == AT) & rows["policy"].isin([*BASELINES, "lp-srpt", "srpt"])]

    def cell(dataset: str, at_once: bool, policy: str) -> Interval:
        row = some[(some["dataset"] == dataset) & (some["all_at_once"] == at_once) & (some["policy"] == policy)].iloc[
            0
        ]
        return Interval(row["percent"], row["percent_low"], row["percent_high"])

    places = [(d, a) for a in (False, True) for d in [ALL, *inputs.datasets]]
    cells = {(d, a, p): cell(d, a, p) for d, a in places for p in [*BASELINES, "lp-srpt", "srpt"]}
    reached = [key for key in cells if key[2] in BASELINES and cells[key].low <= -100 * PAPER_LATENCY]
    everywhere = [p for p in BASELINES if (ALL, False, p) in reached]
    verdict = HOLDS if len(everywhere) == len(BASELINES) else PART if reached else NOT
    pooled = {p: cells[ALL, False, p] for p in [*BASELINES, "lp-srpt", "srpt"]}
    at_once = {p: cells[ALL, True, p] for p in [*BASELINES, "lp-srpt"]}
    found = [
        f"With {AT} requests that arrive at load {LOAD:g}, over all data sets, LAPS-SD's mean latency is "
        f"{change(pooled['fcfs'])} against FCFS, {change(pooled['las'])} against LAS and {change(pooled['lp-sjf'])} "
        f"against LP-SJF ({int(rows['seeds'].max()):,} seeds; the widest interval in this table is ± "
        f"{find.enough(some):.1f} % of its baseline).",
        _srpt_sentence(pooled["lp-srpt"], at_once["lp-srpt"], at_once["lp-sjf"]),
    ]
    why = f"{percentage(PAPER_LATENCY, 0)} is reached against {_grouped(reached)}. "
    worse = [key for key, value in cells.items() if key[2] in BASELINES and value.low > 0]
    why += (
        f"LAPS-SD is slower than {_grouped(worse)}." if worse else "It is slower than none of the paper's baselines."
    )
    table = Table(
        ["data set, arrivals", *(f"against {NAMES[p]}" for p in [*BASELINES, "lp-srpt", "srpt"])],
        [[_place(d, a), *(change(cells[d, a, p]) for p in [*BASELINES, "lp-srpt", "srpt"])] for d, a in places],
        f"Mean latency of LAPS-SD against other policies, {AT} requests, 95 % intervals over seeds. LP-SRPT is "
        "preemptive shortest predicted remaining length, which the paper does not have; SRPT knows true times.",
    )
    short = f"{change(pooled['fcfs'])} against FCFS, {change(pooled['lp-sjf'])} against LP-SJF"
    return Claim(
        "LAPS-SD lowers mean latency by about 39 %",
        "The paper's own words (abstract). Against which baseline, on which data and at which load is not known to "
        "us.",
        short, found, verdict, why, table, (5,),
    )  # fmt: skip


def _srpt_sentence(poisson: Interval, at_once: Interval, sjf_at_once: Interval) -> str:
    verb = "slower than" if poisson.low > 0 else "faster than" if poisson.high < 0 else "not to be told from"
    text = (
        f"LAPS-SD is {verb} LP-SRPT, which preempts by predicted remaining length and knows nothing of acceptance: "
        f"{change(poisson)}; {change(at_once)} when all requests arrive at once."
    )
    if sjf_at_once.low > 0:
        text += (
            f" With all requests there at once it is behind even plain LP-SJF ({change(sjf_at_once)}): nobody "
            "arrives whom preemption could help, and the rounds spent on getting to know requests are paid by all."
        )
    return text


def _grouped(keys: Sequence[tuple[str, bool, str]]) -> str:
    """`FCFS on code and prose, FCFS with all at once on code`, from (data set, all at once, policy)."""
    found = []
    for policy in dict.fromkeys(p for _, _, p in keys):
        for at_once, how in ((False, ""), (True, " with all requests at once")):
            if on := [_place(d, False) for d, a, p in keys if (a, p) == (at_once, policy)]:
                found.append(f"{NAMES[policy]}{how} on {listed(on)}")
    return "; ".join(found) if found else "none of the paper's baselines on any data set"


def _place(dataset: str, at_once: bool) -> str:
    return f"{'all data sets' if dataset == ALL else dataset}{', all at once' if at_once else ''}"


def error_claim(rows: pd.DataFrame, inputs: Inputs) -> Claim:
    """6.84 % error of T̃ at the transition. Holds if the mean error over all data sets is at most that, its interval
    allowed for, at the default length predictor; in part if only with known lengths, or on some data set."""
    by: dict[tuple[str, str], Any] = {(r["dataset"], r["predictor"]): r for r in rows.to_dict("records")}
    default, oracle = by[ALL, PREDICTOR], by[ALL, "oracle"]
    within = [key for key, r in by.items() if r["total_low"] <= PAPER_ERROR]
    verdict = HOLDS if (ALL, PREDICTOR) in within else PART if within else NOT
    shown = [ALL, *inputs.datasets]

    def cells(row: Mapping[str, float]) -> list[str]:
        parts = [f"{percentage(row[p])} [{100 * row[f'{p}_low']:.1f}, {100 * row[f'{p}_high']:.1f}]" for p in
                 ("total", "length", "acceptance", "cost")]  # fmt: skip
        return [*parts, percentage(row["rate"], 0), percentage(row["perceptible"], 0)]

    table = Table(
        [
            "lengths, data set",
            "T̃",
            "length alone",
            "acceptance alone",
            "round cost alone",
            "error of ā",
            "perceptible",
        ],
        [[f"{p}, {d}", *cells(by[d, p])] for p in inputs.error_predictors for d in shown],
        "Mean relative errors at the round at which a request becomes perceptible, 95 % over requests; the parts "
        "are what the error would be with all else true. The last column: requests that become perceptible before "
        "their end.",
    )
    found = [
        f"With lengths known exactly, T̃ is wrong by {percentage(oracle['total'])} on average when a request "
        f"becomes perceptible (round {oracle['round']:.0f}, median). Acceptance alone, seen that briefly, makes "
        f"{percentage(oracle['acceptance'])} (accepted tokens a round are wrong by "
        f"{percentage(oracle['rate'], 0)}); that a round costs one constant c̄ makes {percentage(oracle['cost'])}.",
        f"With lengths wrong as in {PREDICTOR}, it is {percentage(default['total'])}; length alone makes "
        f"{percentage(default['length'])}."
        + (f" The length predictor that was learnt on this trace leaves {percentage(by[ALL, 'learned']['total'])}."
           if (ALL, "learned") in by else ""),
    ]  # fmt: skip
    places = [f"{_place(d, False)} with {p} lengths" for d, p in within]
    why = (
        f"At most {percentage(PAPER_ERROR, 2)} for {listed(places)}."
        if within
        else f"No data set comes to {percentage(PAPER_ERROR, 2)} even with true lengths. A metric that lets errors "
        "of opposite sign cancel would be smaller."
    )
    return Claim(
        "At the transition, execution time is estimated to within 6.84 %",
        "From a summary of the paper; the metric is not known. We take the mean of |T̃ − T| / T over requests, T a "
        "request's true decoding time, T̃ = c̄ · L̂ / (ā + 1).",
        f"{percentage(oracle['total'])} with true lengths, {percentage(default['total'])} with {PREDICTOR}",
        found, verdict, why, table, (7,),
    )  # fmt: skip


def switching_claim(inputs: Inputs, tails: pd.DataFrame) -> Claim:
    """~14 % switching at 500 tokens. Holds if a measured way costs between half and twice that for one switch."""
    whole = float(inputs.inference_ns(PAPER_SWITCH_TOKENS))
    shares = {way: float(ns) / whole for way, ns in inputs.switch_ns(PAPER_SWITCH_TOKENS).items()}
    reached = [w for w, s in shares.items() if PAPER_SWITCHING / 2 <= s <= 2 * PAPER_SWITCHING]
    swaps = {w: s for w, s in shares.items() if w != "recompute"}
    verdict = HOLDS if set(reached) & set(swaps) else PART if reached else NOT
    paid = float(tails.loc[tails["policy"] == "laps-sd", "switching_share"].iloc[0])
    table = Table(
        ["way", "one switch / inference", "switches for 14 %"],
        [[w, percentage(s, 2 if s >= 1e-3 else 3), f"{PAPER_SWITCHING / s:,.0f}"] for w, s in shares.items()],
        f"Out and back of a whole cache once, over prefill and rounds of a request with {PAPER_SWITCH_TOKENS} "
        "output tokens (median prompt, pooled acceptance). `recompute` runs the prefill again over all its tokens.",
    )
    top = max(shares, key=lambda w: shares[w])
    found = [
        f"The dearest measured way of one switch, {top}, is {percentage(shares[top], 2)} of a "
        f"{PAPER_SWITCH_TOKENS}-token request's time. In the runs of figure 5 (30 requests, load {LOAD:g}) LAPS-SD "
        f"spends {percentage(paid, 3)} of the busy time on switching.",
    ]  # fmt: skip
    hardware = inputs.profile.stamp.get("hardware", {})
    on = (
        "on CPU cores, where a cache moves within one memory"
        if hardware.get("device") == "cpu"
        else "on this machine"
    )
    why = (
        f"Reached by {listed(reached)}."
        if reached
        else f"No single switch comes near it {on}: it would take many switches a request, far slower copies, or "
        "another cost beside the copy. Nothing has been measured here on a GPU with caches that cross a bus."
        if hardware.get("device") == "cpu"
        else f"No single switch comes near it {on}: it would take many switches, far slower copies, or another cost."
    )
    return Claim(
        "Switching costs about 14 % of inference time at 500 output tokens",
        "From a summary of the paper (its figure 2); how many switches are counted is not known.",
        f"{percentage(max(swaps.values(), default=0.0), 2)} for one swap, the dearest way",
        found, verdict, why, table, (2,),
    )  # fmt: skip


def queues_claim(rows: pd.DataFrame, falling: float) -> Claim:
    """Best K falls from 6 at 10 requests to 4 at 30.

    Holds if those K are best in most resamples, Sup_1 scaled; in part if the best K is lower at 30 than at 10
    requests in 95 % of them.
    """
    scaled = rows[rows["sup_1"] == "scaled"]
    top = {n: scaled[scaled["requests"] == n].sort_values("best").iloc[-1] for n in PAPER_BEST_K}
    named = all(int(top[n]["K"]) == k and top[n]["best"] > 0.5 for n, k in PAPER_BEST_K.items())
    verdict = HOLDS if named else PART if falling >= SURE_PART else NOT
    few, many = PAPER_BEST_K
    flat = scaled[scaled["K"] >= 4]
    span = float(flat["percent"].abs().max())
    fixed = rows[(rows["sup_1"] == "fixed") & (rows["requests"] == many)].sort_values("best").iloc[-1]
    found = [
        f"With Sup₁ scaled so that the middle threshold stays at the median size, K = {int(top[few]['K'])} is best "
        f"most often at {few} requests ({percentage(top[few]['best'], 0)} of resamples of {int(top[few]['seeds'])} "
        f"seeds) and K = {int(top[many]['K'])} at {many} ({percentage(top[many]['best'], 0)}); the best K is lower "
        f"at {many} requests than at {few} in {percentage(falling, 0)} of resamples. From K = 4 on "
        f"{'the choice hardly matters: all' if span < 2 else 'all'} are within {span:.1f} % of K = 4.",
        f"With Sup₁ fixed at what K = 4 has, K moves the last threshold instead, and K = {int(fixed['K'])} is best "
        f"at {many} requests ({percentage(fixed['best'], 0)}): fewer queues then also mean a lower last threshold. "
        "With one queue LAPS-SD is FCFS, since nobody who waits is perceptible.",
    ]  # fmt: skip
    k6 = scaled[(scaled["requests"] == many) & (scaled["K"] == 6)].iloc[0]
    why = (
        f"Six queues instead of four at {many} requests change mean latency by "
        f"{change(Interval(k6['percent'], k6['low'], k6['high']), 2)}"
        + (": which K is best there is chance." if k6["low"] <= 0 <= k6["high"] else ".")
    )
    return Claim(
        "The best number of queues falls from 6 at 10 requests to 4 at 30",
        "From a review of the paper (its figure 6); how thresholds follow K is not known.",
        f"best most often: K = {int(top[few]['K'])} at {few} requests, {int(top[many]['K'])} at {many}; flat from 4 "
        f"on ({signed(-span)} to {signed(span)} %)",
        found, verdict, why, None, (6,),
    )  # fmt: skip
