"""Ablation of ALISE: the effect of each of its parts, one change at a time."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lapsd.papers.alise.systems import (
    CAP,
    PREDICTOR,
    RECOMPUTE,
    SMALL_CAP,
    System,
    memories,
    rates,
    together,
)
from lapsd.papers.alise.throughput import METRIC, TAIL
from lapsd.papers.differences import percent
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import Section, Table
from lapsd.papers.words import change, percentage
from lapsd.sim.experiment.metrics import over_seeds
from lapsd.sim.experiment.statistics import Interval
from lapsd.sim.sweeps.grid import Sweep

MEMORY = {"memory": "alise"}
PARTS: Mapping[str, System] = {
    "whole": System("ALISE, unchanged", "alise", MEMORY),
    "true lengths": System(
        "true output lengths", "alise", {**MEMORY, "length_predictor": "oracle"}
    ),
    "worse lengths": System(
        "predicted lengths noisy:1", "alise", {**MEMORY, "length_predictor": "noisy:1"}
    ),
    "exact model": System("exact time model", "alise:model=exact", MEMORY),
    "no ageing": System("no ageing", "alise:age_s=auto", MEMORY),
    "ageing 3 s": System("ageing: one queue up every 3 s", "alise:age_s=3", MEMORY),
    "overrun 1": System("overrun predictions are not raised", "alise:overrun=1", MEMORY),
    "fcfs": System("first come, first served", "fcfs", MEMORY),
    "reactive": System("swapping when blocks run out", "alise", {"memory": "paged"}),
    "recompute": System("recomputing when blocks run out", "alise", RECOMPUTE),
    "fcfs paged": System(
        "first come, first served, and swapping when blocks run out (vLLM)",
        "fcfs",
        {"memory": "paged"},
    ),
    "no int8": System("KV transfers not quantised", "alise", {"memory": "alise:int8=none"}),
    "int8 all": System("all KV caches quantised", "alise", {"memory": "alise:int8=all"}),
    "no overlap": System(
        "KV transfers not overlapped with rounds", "alise", {"memory": "alise:overlap=false"}
    ),
    "cap 16": System(
        f"batches of at most {SMALL_CAP} requests", "alise", {**MEMORY, "batch": SMALL_CAP}
    ),
}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Return a sweep of every variant at one arrival rate, with the smaller KV memory."""
    try:
        tokens = min(memories(inputs).values())
    except Unanswerable:
        return {}
    return {
        f"part {name}": system.sweep(
            size.others, requests=size.generated, kv_tokens=tokens, rate=rate_of(inputs, size)
        )
        for name, system in PARTS.items()
    }


def rate_of(inputs: Inputs, size: Size) -> float:
    """Return the middle arrival rate, at which requests wait and the queue stays short."""
    every = rates(inputs, size, min(memories(inputs).values()))
    return every[len(every) // 2]


def find(evidence: Evidence) -> Tables:
    """Return each variant's normalized latency, and its difference to unchanged ALISE."""
    records = together(evidence.records, "part")
    by_seed = records.pivot(index="seed", columns="system", values=METRIC)
    rows = []
    for name in PARTS:
        own, change_ = records[records["system"] == name], percent(by_seed, name, "whole")
        rows.append(
            {
                "part": name,
                "mean_s": own[METRIC].mean(),
                "p90_s": own[TAIL].mean(),
                "percent": change_.value,
                "low": change_.low,
                "high": change_.high,
                "preemptions": own["preemptions"].mean(),
                "switching_share": over_seeds(own, "switching_share").value,
                "seeds": len(own),
            }
        )
    return {"ablation": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Section:
    """Return a table with one row per variant, and which variants differ significantly."""
    rows = tables["ablation"]
    body = [
        [
            PARTS[r["part"]].label,
            f"{r['mean_s']:.3f}",
            f"{r['p90_s']:.3f}",
            "-" if r["part"] == "whole" else change(_interval(r)),
            f"{r['preemptions']:.0f}",
            percentage(r["switching_share"]),
        ]
        for r in rows.to_dict("records")
    ]
    head = [
        "variant",
        "mean, s/token",
        "p90, s/token",
        "mean, compared with ALISE",
        "preemptions",
        "KV transfers",
    ]
    rate, tokens = rate_of(evidence.inputs, evidence.size), min(memories(evidence.inputs).values())
    caption = (
        "Normalized latency (seconds per output token) of ALISE with one change at a time, at"
        f" {rate:g} requests/s and {tokens:,} KV tokens; predicted lengths {PREDICTOR}, batches of"
        f" up to {CAP}, {evidence.size.generated} requests. KV transfers are given as a share of"
        " busy time. Transfers that overlap with rounds delay only the transferred request."
    )
    better = [PARTS[r["part"]].label for r in rows.to_dict("records") if r["high"] < 0]
    worse = [PARTS[r["part"]].label for r in rows.to_dict("records") if r["low"] > 0]
    text = [
        f"Variants with a significantly lower mean than ALISE: {'; '.join(better) or 'none'}. "
        f"Variants with a significantly higher mean: {'; '.join(worse) or 'none'}."
    ]
    return Section("Ablation: the effect of each part of ALISE", text, [Table(head, body, caption)])


def _interval(row: Any) -> Interval:
    return Interval(row["percent"], row["low"], row["high"])


QUESTION = Question("the ablation of ALISE", find, say, needs=needs)
