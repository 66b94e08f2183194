"""What of the KV memory is reserved and never filled, lost in the last block of each request, or
free.
"""

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
    "filled": "keys and values",
    "unfilled": "taken, not filled",
    "free": "free, but too little",
}


def find(evidence: Evidence) -> Tables:
    """Shares of the smaller memory over the time that somebody waits, first come, first served."""
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
            **({} if memory == "tokens" else {"kv_slots": 0}),
        )
        seen = Occupancy()
        for seed in range(SEEDS):
            run(prepared, FCFS(), seed, occupancy=seen)
        if not seen.ns:
            raise Unanswerable(
                f"nobody waits at {rate_of(inputs, evidence.size):g} requests a second"
            )
        filled, taken = seen.filled / seen.ns / tokens, seen.taken / seen.ns / tokens
        rows.append(
            {"manager": name, "filled": filled, "unfilled": taken - filled, "free": 1 - taken}
        )
    return {"waste": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Section:
    """The table, and what paging saves."""
    rows = tables["waste"].to_dict("records")
    body = [[str(row["manager"]), *(percentage(row[share]) for share in SHARES)] for row in rows]
    unfilled = {row["manager"]: percentage(row["unfilled"]) for row in rows}
    text = (
        f"Reserving the longest output that there can be leaves {unfilled['ORCA, largest output']}"
        " of the memory taken and not filled while others wait for it; blocks of 16 tokens"
        f" {unfilled['blocks of 16']}."
    )
    caption = (
        f"Shares of {min(memories(evidence.inputs).values()):,} KV tokens over the time that"
        f" somebody waits, at {rate_of(evidence.inputs, evidence.size):g} requests/s, first come,"
        f" first served; {SEEDS} seeds of {evidence.size.generated} requests."
    )
    return Section(
        "Memory that is reserved, or fragmented",
        [text],
        [Table(["memory", *SHARES.values()], body, caption)],
    )


def draw(evidence: Evidence, tables: Tables) -> list[Figure]:
    """A bar a manager."""
    title = "KV memory while somebody waits"
    shares = tables["waste"].set_index("manager").rename(columns=SHARES)
    return [
        Figure(8, title, evidence.inputs.where, lambda: plot_shares(shares, "share of KV memory"))
    ]


QUESTION = Question("waste of reserved and fragmented memory", find, say, draw)
