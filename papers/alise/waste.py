"""Use of the KV memory while requests wait: filled, allocated but not filled, and free."""

from collections.abc import Mapping

import pandas as pd

from lapsd.papers.alise.ablation import rate_of
from lapsd.papers.alise.systems import CAP, PREDICTOR, memories
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import Figure, Section, Table
from lapsd.papers.words import percentage
from lapsd.policies import FCFS
from lapsd.sim.engine.occupancy import Occupancy
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run
from lapsd.sim.figures.shares import plot_shares

SEEDS = 3
MANAGERS: Mapping[str, str] = {
    "ORCA, largest output": "reserve:output=max",
    "ORCA, next power of two": "reserve:output=pow2",
    "ORCA, true output": "reserve:output=oracle",
    "blocks of 128": "paged:block=128",
    "blocks of 32": "paged:block=32",
    "blocks of 16": "paged",
    "single tokens": "tokens",
}
SHARES = {
    "filled": "filled with keys and values",
    "unfilled": "allocated, not filled",
    "free": "free, but too small to use",
}


def find(evidence: Evidence) -> Tables:
    """Return shares of the smaller memory, averaged over the time in which a request waits.

    The policy is first come, first served.
    """
    inputs, rows = evidence.inputs, []
    tokens = min(memories(inputs).values())
    for name, memory in MANAGERS.items():
        prepared = PreparedScenario.of(
            inputs.trace,
            inputs.profile,
            memory=memory,
            kv_tokens=tokens,
            batch=CAP,
            length_predictor=PREDICTOR,
            requests=evidence.size.generated,
            rate=rate_of(inputs, evidence.size),
            **({} if memory == "tokens" else {"kv_slots": "unlimited"}),
        )
        seen = Occupancy()
        for seed in range(SEEDS):
            run(prepared, FCFS(), seed, occupancy=seen)
        if not seen.ns:
            raise Unanswerable(f"no request waits at {rate_of(inputs, evidence.size):g} requests/s")
        filled, taken = seen.filled / seen.ns / tokens, seen.taken / seen.ns / tokens
        rows.append(
            {"manager": name, "filled": filled, "unfilled": taken - filled, "free": 1 - taken}
        )
    return {"waste": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Section:
    """Return the table of shares, and how much memory paging saves."""
    rows = tables["waste"].to_dict("records")
    body = [[str(row["manager"]), *(percentage(row[share]) for share in SHARES)] for row in rows]
    unfilled = {row["manager"]: percentage(row["unfilled"]) for row in rows}
    text = (
        "With the largest possible output reserved for each request,"
        f" {unfilled['ORCA, largest output']} of the memory is allocated and not filled while other"
        f" requests wait. With blocks of 16 tokens it is {unfilled['blocks of 16']}."
    )
    caption = (
        f"Shares of {min(memories(evidence.inputs).values()):,} KV tokens, averaged over the time"
        f" in which at least one request waits, at {rate_of(evidence.inputs, evidence.size):g}"
        f" requests/s, first come, first served; {SEEDS} seeds of {evidence.size.generated}"
        " requests."
    )
    return Section(
        "Memory lost to reservation and fragmentation",
        [text],
        [Table(["memory", *SHARES.values()], body, caption)],
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """Draw one bar per memory manager."""
    title = "Use of the KV memory while requests wait"
    caption = (
        "Mean share of the KV memory in each state (horizontal axis) over the time in which at"
        f" least one request waits, one bar per memory manager. {evidence.inputs.where}"
    )
    shares = tables["waste"].set_index("manager").rename(columns=SHARES)
    return [Figure(8, title, caption, lambda: plot_shares(shares, "share of KV memory"))]


QUESTION = Question("memory lost to reservation and fragmentation", find, say, draw)
