"""What each part of ALISE is worth: one change at a time."""

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
    "whole": System("ALISE as it is", "alise", MEMORY),
    "true lengths": System("true lengths", "alise", {**MEMORY, "length_predictor": "oracle"}),
    "worse lengths": System("lengths noisy:1", "alise", {**MEMORY, "length_predictor": "noisy:1"}),
    "exact model": System("exact time model", "alise:model=exact", MEMORY),
    "no ageing": System("no ageing", "alise:age_s=auto", MEMORY),
    "ageing 3 s": System("a queue up every 3 s", "alise:age_s=3", MEMORY),
    "overrun 1": System("overrun predictions stay", "alise:overrun=1", MEMORY),
    "fcfs": System("first come, first served", "fcfs", MEMORY),
    "reactive": System("swapping when blocks run out", "alise", {"memory": "paged"}),
    "recompute": System("recomputing when blocks run out", "alise", RECOMPUTE),
    "fcfs paged": System("neither: vLLM, swap", "fcfs", {"memory": "paged"}),
    "no int8": System("moves not quantised", "alise", {"memory": "alise:int8=none"}),
    "int8 all": System("all caches quantised", "alise", {"memory": "alise:int8=all"}),
    "no overlap": System("rounds wait for moves", "alise", {"memory": "alise:overlap=false"}),
    "cap 16": System(f"at most {SMALL_CAP} requests", "alise", {**MEMORY, "batch": SMALL_CAP}),
}


def needs(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Every part at one rate, in the smaller memory."""
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
    """The middle one: where requests wait, and are not too many."""
    every = rates(inputs, size, min(memories(inputs).values()))
    return every[len(every) // 2]


def find(evidence: Evidence) -> Tables:
    """Each variant's latency over output length, and by how much it is above the whole's."""
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
    """One table; what it would be without each."""
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
        "mean s/token",
        "p90 s/token",
        "mean, against the whole",
        "preemptions",
        "moves",
    ]
    rate, tokens = rate_of(evidence.inputs, evidence.size), min(memories(evidence.inputs).values())
    caption = (
        f"One change at a time, at {rate:g} requests/s and {tokens:,} KV tokens; lengths"
        f" {PREDICTOR}, batches of up to {CAP}, {evidence.size.generated} requests. Moves are a"
        " share of all requests' busy time; beside rounds they cost nothing but the wait."
    )
    better = [PARTS[r["part"]].label for r in rows.to_dict("records") if r["high"] < 0]
    worse = [PARTS[r["part"]].label for r in rows.to_dict("records") if r["low"] > 0]
    text = [
        f"Better beyond chance than the whole: {'; '.join(better) or 'nothing'}. "
        f"Worse: {'; '.join(worse) or 'nothing'}."
    ]
    return Section("What each part of ALISE is worth", text, [Table(head, body, caption)])


def _interval(row: Any) -> Interval:
    return Interval(row["percent"], row["low"], row["high"])


QUESTION = Question("what each part of ALISE is worth", find, say, needs=needs)
