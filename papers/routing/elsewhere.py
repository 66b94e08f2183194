"""Which decision gains most with other lengths, and with bursts of arrivals?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lapsd.papers.inputs import RECORDED, Inputs, Size
from lapsd.papers.question import Evidence, Question, Tables
from lapsd.papers.report import Section
from lapsd.papers.routing.decisions import NO_LEADER, effects, leaders, table_of
from lapsd.papers.routing.fixed import (
    FCFS,
    FIXED,
    JSQ,
    LP_SRPT,
    PRICED,
    RANDOM,
    Cell,
    batches,
    derives,
    high_loads,
    latencies,
    routed_sweep,
    seeds,
)
from lapsd.papers.words import listed
from lapsd.sim.sweeps.grid import Sweep

SERVERS = 16
CV = 3.0
PAIRS = [(order, drafts) for order in (FCFS, LP_SRPT) for drafts in (FIXED, PRICED)]


def changes(inputs: Inputs) -> dict[str, dict[str, Any]]:
    """Return the settings that each change has."""
    return {
        "recorded lengths": {"trace": RECORDED},
        f"gaps with CV {CV:g}": {"cv": CV},
        **{f"arrivals of {name}": {"arrivals": path} for name, path in inputs.arrivals.items()},
    }


def needs(inputs: Inputs, size: Size) -> Mapping[str, Sweep]:
    """Return a sweep for each change and batch size."""
    shared = {"router": [RANDOM, JSQ], "load": high_loads(size)}
    return {
        f"{change.replace(' ', '-')}-{b}": routed_sweep(
            PAIRS, b, SERVERS, seeds(size, SERVERS), **(shared | changed)
        )
        for change, changed in changes(inputs).items()
        for b in batches(inputs)
    }


def find(evidence: Evidence) -> Tables:
    """Return the effects of each decision, as in `decisions`, by change and cell."""
    rows = []
    for change in changes(evidence.inputs):
        for batch in batches(evidence.inputs):
            records = evidence.records[f"{change.replace(' ', '-')}-{batch}"]
            for load, some in records.groupby("load"):
                cell = Cell(batch, SERVERS, float(str(load)))
                latency = latencies(some, PAIRS)
                rows.append({"change": change} | cell._asdict() | effects(latency))
    return {"elsewhere": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Section:
    """Return the leaders under each change."""
    rows = tables["elsewhere"]
    paragraphs = [
        f"The first question again with {SERVERS} servers: with the lengths of the recorded trace,"
        f" and with Gamma gaps between arrivals with a coefficient of variation of {CV:g}."
    ]
    if evidence.inputs.arrivals:
        paragraphs.append(
            "A run with recorded arrivals takes the gaps of the file from a random request on,"
            " scaled to the load. Its lengths are those of the other questions."
        )
    else:
        paragraphs.append(
            "Recorded arrivals are not tested: no file was given (--arrivals), and the package"
            " holds none."
        )
    for change, some in rows.groupby("change", sort=False):
        parts = [f"{name} in {count}" for name, count in leaders(some).items()]
        if none := int((some["leader"] == NO_LEADER).sum()):
            parts.append(f"none in {none}")
        paragraphs.append(
            f"With {change} the decision that significantly gains most:"
            f" {listed(parts)} of {len(some)} cells."
        )
    return Section("Other lengths and bursts", paragraphs, [table_of(rows, {"change": "with"})])


QUESTION = Question("other lengths and bursts", find, say, needs=needs, derives=derives)
