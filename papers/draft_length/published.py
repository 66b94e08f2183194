"""Checks against observations that others published of real engines."""

from typing import Any

import pandas as pd

from lapsd.papers.differences import columns, interval_of, percent, reverse
from lapsd.papers.draft_length import lengths
from lapsd.papers.draft_length.fixed import (
    CONFIDENT,
    FIXED,
    LENGTHS,
    OFF,
    PRICED,
    RULES,
    batches,
    best_fixed,
    draft_sweep,
    latencies,
    name_of,
    seeds,
)
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import HOLDS, NOT, PART, Claim, Figure, Table
from lapsd.papers.words import change, percentage, signed
from lapsd.sim.experiment.statistics import ratio_of_means
from lapsd.sim.figures.panels import plot_panels
from lapsd.sim.sweeps.grid import Sweep

LOAD = 0.95
SAME = 0.02  # a share that changes by less over batch sizes counts as constant
CONCURRENCY = (1, 4, 16, 64, 128, 256)
LONGEST = FIXED[-1]
PUBLISHED = {4: -7.0, 8: -8.3, 16: -4.7, 32: -5.4, 64: 6.4, 128: 18.0, 256: 69.7}
CLOSED = [("fcfs", drafts) for drafts in (OFF, LONGEST, CONFIDENT, PRICED)]


def load_of(size: Size) -> float:
    """Return the load at which batch sizes are compared: the nearest that was run."""
    return min(size.loads, key=lambda x: abs(x - LOAD))


def find_target(evidence: Evidence) -> Tables:
    """Return acceptance and mean latency of each fixed length, by batch size.

    `accepted` with `_low` and `_high`: share of draft tokens that are accepted; `percent`, `low`,
    `high`: mean latency above that of the best fixed length.
    """
    rows = []
    for batch in batches(evidence.inputs):
        records = evidence.records[lengths.name(batch)]
        some = records[records["load"] == load_of(evidence.size)]
        latency = latencies(some, evidence.inputs, lengths.PAIRS)
        best = best_fixed(latency)
        for drafts, length in LENGTHS.items():
            own = some[some["policy"] == name_of("fcfs", drafts)].sort_values("seed")
            value, low, high = percent(latency, ("fcfs", drafts), best)
            rows.append(
                {
                    "batch": batch,
                    "length": length,
                    **columns(
                        "accepted", ratio_of_means(own["accepted_tokens"], own["drafted_tokens"])
                    ),
                    "percent": value,
                    "low": low,
                    "high": high,
                    "is_best": best == ("fcfs", drafts),
                }
            )
        ema = percent(latency, ("fcfs", "ema"), best)
        rows[-1] |= columns("ema", ema)
    if len(batches(evidence.inputs)) < 2:
        raise Unanswerable("the profile covers only one batch size")
    return {"target": pd.DataFrame(rows)}


def say_target(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by the change of acceptance and of the best length over batch sizes.

    It holds if the share of accepted draft tokens of every length changes by less than `SAME` from
    one batch size to another, while the best length of the smallest batch size is significantly
    slower than the best at the largest, and conversely; in part if only the second is so.
    """
    rows = tables["target"]
    change_of = rows.groupby("length")["accepted"].agg(lambda x: x.max() - x.min())
    small, large = (rows[rows["batch"] == b] for b in (rows["batch"].min(), rows["batch"].max()))
    best = [int(some.loc[some["percent"].idxmin(), "length"]) for some in (small, large)]
    at = [some.set_index("length") for some in (small, large)]
    flips = best[0] != best[1] and at[1].loc[best[0], "low"] > 0 and at[0].loc[best[1], "low"] > 0
    constant = bool((change_of < SAME).all())
    ema = rows.dropna(subset=["ema"])
    ends = (int(rows["batch"].min()), int(rows["batch"].max()))
    costs = [change(_percent(at[1].loc[best[0]])), change(_percent(at[0].loc[best[1]]))]
    findings = [
        (
            f"At load {load_of(evidence.size):g}, FCFS. The share of accepted draft tokens changes"
            f" over batch sizes by at most {100 * change_of.max():.1f} points at any length: "
            + "; ".join(
                f"length {length}: {percentage(some['accepted'].min())} to"
                f" {percentage(some['accepted'].max())}"
                for length, some in rows.groupby("length")
            )
            + "."
        ),
        (
            f"The best length is {best[0]} at b = {ends[0]} and {best[1]} at b = {ends[1]}. Length"
            f" {best[0]} at b = {ends[1]}: {costs[0]} above the best; length {best[1]} at b ="
            f" {ends[0]}: {costs[1]}."
        ),
        (
            "EMA, which follows accepted tokens and knows no costs, is above the best fixed length"
            " by "
            + "; ".join(
                f"{change(interval_of(r, 'ema'))} at b = {r['batch']}"
                for r in ema.to_dict("records")
            )
            + "."
        ),
    ]
    return Claim(
        "A draft length that targets acceptance loses",
        "Reported of vLLM: acceptance stays nearly the same from batch size 1 to 32 while the best"
        " length changes, so a table of lengths by batch size is needed (documentation of dynamic"
        " speculative decoding, vLLM pull request 32374).",
        f"acceptance changes by at most {100 * change_of.max():.1f} points, the best length from"
        f" {best[0]} to {best[1]}",
        findings,
        HOLDS if flips and constant else PART if flips else NOT,
        (
            "The share of accepted tokens changes by at most"
            f" {100 * change_of.max():.1f} points over batch sizes"
            f" ({'less' if constant else 'not less'} than {100 * SAME:g}), and the best length of"
            " each end is significantly slower at the other."
            if flips
            else "The best length of one end is not significantly slower at the other end."
        ),
        Table(
            ["batch", *(f"length {n}" for n in LENGTHS.values())],
            [
                [
                    str(batch),
                    *(
                        f"{percentage(r['accepted'], 0)}, {signed(r['percent'])} %"
                        f"{' (best)' * bool(r['is_best'])}"
                        for r in some.sort_values("length").to_dict("records")
                    ),
                ]
                for batch, some in rows.groupby("batch")
            ],
            "Share of accepted draft tokens, and mean latency above that of the best fixed length.",
        ),
    )


def _percent(row: Any) -> Any:
    return tuple(float(row[name]) for name in ("percent", "low", "high"))


def draw_target(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 6."""
    rows = tables["target"].assign(x=lambda t: t["batch"])
    rows = rows.assign(line=[f"length {n}" for n in rows["length"]])
    accepted = rows.assign(
        panel="accepted share, %", value=100 * rows["accepted"], high=100 * rows["accepted_high"]
    )
    slower = rows.assign(panel="latency vs. best, %", value=rows["percent"])
    shown = pd.concat([accepted, slower[slower["percent"] <= 60]])
    caption = (
        "Simulated: share of accepted draft tokens (left) and mean latency above that of the best"
        " fixed length (right; above 60 % left out), by batch size (horizontal axis, logarithmic),"
        f" one line per fixed length. FCFS, load {load_of(evidence.size):g}, 95 % intervals."
        f" {evidence.inputs.where}"
    )
    return [
        Figure(
            6,
            "Acceptance and the best length by batch size",
            caption,
            lambda: plot_panels(shown, "batch size", "%", log=True),
        )
    ]


def needs_closed(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of closed loops for each concurrency."""
    most = max(inputs.profile.costs.rounds)
    return {
        f"closed-{c}": draft_sweep(inputs, CLOSED, c, seeds(size.claims, min(c, 128)), clients=c)
        for c in CONCURRENCY
        if c <= most
    }


def find_closed(evidence: Evidence) -> Tables:
    """Return speed in a closed loop above that of a fixed length of 7, by concurrency, in percent.

    Speed is 1 over mean latency, which in a closed loop without think time is proportional to
    throughput. Columns: `concurrency`, and each policy with `_low` and `_high`.
    """
    rows = []
    for name in needs_closed(evidence.inputs, evidence.size):
        latency = latencies(evidence.records[name], evidence.inputs, CLOSED)
        row: dict[str, Any] = {"concurrency": int(name.partition("-")[2]), "seeds": len(latency)}
        for _, drafts in CLOSED:
            if drafts != LONGEST:
                own = percent(latency, ("fcfs", drafts), ("fcfs", LONGEST))
                row |= columns(drafts, reverse(own))
        rows.append(row)
    if len(rows) < 2:
        raise Unanswerable("the profile covers only one batch size")
    return {"closed": pd.DataFrame(rows)}


def say_closed(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim by survival with confidence at the ends of the concurrencies.

    It holds if its gain over a fixed length of 7 is significantly larger at the largest concurrency
    than at the smallest, and above 0 there; in part if only the latter.
    """
    rows = tables["closed"].sort_values("concurrency")
    first, last = rows.iloc[0], rows.iloc[-1]
    gains = last[f"{CONFIDENT}_low"] > 0
    grows = last[f"{CONFIDENT}_low"] > first[f"{CONFIDENT}_high"]
    published = "; ".join(f"{signed(v)} % at {c}" for c, v in PUBLISHED.items())
    findings = [
        "Speed above that of a fixed length of 7 in a closed loop without think time, where all"
        " clients run in one batch. Survival with confidence: "
        + "; ".join(
            f"{change(interval_of(r, CONFIDENT))} at {r['concurrency']}"
            for r in rows.to_dict("records")
        )
        + ".",
        f"Published: {published} (output tokens per second). Models, draft model and GPU differ, so"
        " only the shape can be compared. There all 7 tokens are drafted always and only the"
        " verification is cut; here the draft model stops as well, so nothing is lost at low"
        " concurrency.",
    ]
    return Claim(
        "The gain of confidences over a fixed length of 7 grows with concurrency",
        "DSpark in vLLM on four MI355X GPUs (pull request 52362).",
        f"{signed(first[CONFIDENT])} % at {int(first['concurrency'])},"
        f" {signed(last[CONFIDENT])} % at {int(last['concurrency'])}",
        findings,
        HOLDS if gains and grows else PART if gains else NOT,
        f"The gain at the largest concurrency is {'' if gains else 'not '}significantly above 0,"
        f" and {'' if grows else 'not '}significantly above that at the smallest.",
        Table(
            ["concurrency", "published", RULES[CONFIDENT], RULES[PRICED], OFF],
            [
                [
                    str(r["concurrency"]),
                    f"{signed(PUBLISHED[r['concurrency']])} %"
                    if r["concurrency"] in PUBLISHED
                    else "-",
                    *(change(interval_of(r, drafts)) for drafts in (CONFIDENT, PRICED, OFF)),
                ]
                for r in rows.to_dict("records")
            ],
            "Speed above that of a fixed length of 7, with 95 % intervals.",
        ),
    )


def draw_closed(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw Figure 7."""
    rows = tables["closed"]
    shown = [
        rows.assign(
            panel="", line=RULES[d], x=rows["concurrency"], value=rows[d], high=rows[f"{d}_high"]
        )
        for d in (CONFIDENT, PRICED)
    ]
    reported = pd.DataFrame({"x": PUBLISHED.keys(), "value": PUBLISHED.values()})
    shown.append(reported.assign(panel="", line="DSpark, published", high=reported["value"]))
    caption = (
        "Speed above that of a fixed length of 7, in percent (vertical axis), by number of clients"
        " in a closed loop (horizontal axis, logarithmic): simulated, with 95 % intervals, and as"
        f" published for DSpark on other models and GPUs. {evidence.inputs.where}"
    )
    return [
        Figure(
            7,
            "The gain over a fixed length of 7 by concurrency",
            caption,
            lambda: plot_panels(pd.concat(shown), "clients", "speed vs. fixed 7, %", log=True),
        )
    ]


TARGET = Question("a target on acceptance", find_target, say_target, draw_target, lengths.needs)
BY_CONCURRENCY = Question("concurrency", find_closed, say_closed, draw_closed, needs_closed)
