"""Prefix caches: what does a router gain that looks for them?"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from lapsd.papers.differences import columns, percent
from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.question import Evidence, Question, Tables, Unanswerable
from lapsd.papers.report import Claim, Table, judged
from lapsd.papers.routing.decisions import short
from lapsd.papers.routing.fixed import (
    FCFS,
    FIXED,
    JSQ,
    LEAST_WORK,
    LP_SRPT,
    RANDOM,
    high_loads,
    latencies,
    routed_sweep,
    seeds,
)
from lapsd.papers.routing.lengths import with_arrivals_lengths, with_azure_lengths
from lapsd.papers.words import percentage, signed
from lapsd.sim.figures.style import NAMES
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Trace
from lapsd.traces.derived.sessions import Sessions, in_sessions

SESSIONS = "azure sessions"  # name of the derived trace
HOW = Sessions(turns=4, interleaved=64, system_prompts=4, system_tokens=512)
REQUESTS = 4_000  # all of Azure's conversations
SERVERS, BATCH = 16, 16
LEAST_LOADED = 0.5  # load next to the high ones
CACHE_AWARE, WEIGHTED = "cache-aware", "weighted"
LOOKING = (CACHE_AWARE, WEIGHTED)  # routers that see prefix caches
ROUTERS = (RANDOM, LEAST_WORK, *LOOKING)  # compared with jsq
ORDERS = (FCFS, LP_SRPT)
PAIRS = [(order, FIXED) for order in ORDERS]
CACHES = {"cached": True, "uncached": False}


def sessions(recorded: Trace) -> Trace:
    """Return requests with Azure's lengths as turns of sessions.

    Raises
    ------
    FormatError
        As `with_azure_lengths`.
    """
    return in_sessions(with_azure_lengths(recorded, REQUESTS), HOW)


def derives(inputs: Inputs, size: Size) -> Mapping[str, Callable[[], Trace]]:
    """Return the functions that make the trace of sessions, and one of each recorded file with
    hashes of prompts.
    """
    return {SESSIONS: lambda: sessions(inputs.trace)} | {
        prompts_of(name): partial(with_arrivals_lengths, inputs.trace, path, REQUESTS)
        for name, path in inputs.with_prefixes.items()
    }


def prompts_of(name: str) -> str:
    """Return the name of the trace with the prompts of a file of recorded arrivals."""
    return f"prompts of {name}"


def needs(inputs: Inputs, size: Size) -> Mapping[str, Sweep]:
    """Return a sweep of routers and orders with prefix caches, one without, and one with caches for
    each recorded file with hashes of prompts.
    """
    if max(inputs.profile.costs.rounds) < BATCH:
        return {}
    kinds: dict[str, dict[str, Any]] = {
        name: {"trace": SESSIONS, "prefix_cache": cache} for name, cache in CACHES.items()
    }
    for name, path in inputs.with_prefixes.items():
        kinds[prompts_of(name)] = {
            "trace": prompts_of(name),
            "prefix_cache": True,
            "arrivals": path,
        }
    return {
        f"prefixes-{name.replace(' ', '-')}": routed_sweep(
            PAIRS,
            BATCH,
            SERVERS,
            seeds(size, SERVERS),
            request_order="trace",
            memory="paged",
            evict="recompute",
            router=[JSQ, *ROUTERS],
            load=[LEAST_LOADED, *high_loads(size)],
            **settings,
        )
        for name, settings in kinds.items()
    }


def find(evidence: Evidence) -> Tables:
    """Compare routers with jsq, with and without prefix caches, by load and order.

    The column of a router has its mean latency above that of jsq in percent; `NAME hits` is the
    share of prompt tokens that were cached.
    """
    if not needs(evidence.inputs, evidence.size):
        raise Unanswerable(f"the profile does not cover batch size {BATCH}")
    rows = []
    for name in (*CACHES, *map(prompts_of, evidence.inputs.with_prefixes)):
        sweep = f"prefixes-{name.replace(' ', '-')}"
        for load, some in evidence.records[sweep].groupby("load"):
            latency = latencies(some, PAIRS)
            hits = latencies(some, PAIRS, values="cached_tokens")
            prompts = latencies(some, PAIRS, values="prompt_tokens")
            for order in ORDERS:
                row = {"caches": name, "load": load, "order": order, "seeds": len(latency)}
                base = (JSQ, order, FIXED)
                for router in (JSQ, *ROUTERS):
                    key = (router, order, FIXED)
                    row |= columns(router, percent(latency, key, base))
                    row[f"{router} hits"] = float(hits[key].sum() / prompts[key].sum())
                rows.append(row)
    return {"prefixes": pd.DataFrame(rows)}


def say(evidence: Evidence, tables: Tables) -> Claim:
    """Judge the claim for the routers that see prefix caches, against jsq.

    It holds if both are significantly faster in all loads and orders with prefix caches, and in
    part if both are in at least half of them.
    """
    rows = tables["prefixes"]
    own = rows[rows["caches"] == "cached"]
    wins = {router: int((own[f"{router}_high"] < 0).sum()) for router in LOOKING}
    cells = len(own)
    both = int((own[[f"{router}_high" for router in LOOKING]] < 0).all(axis=1).sum())
    texts = [f"{router} in {count}" for router, count in wins.items()]
    return Claim(
        "Where prefixes are cached, a router that looks for them is faster than jsq",
        f"Our own question: {HOW.turns} turns per session, {HOW.interleaved} sessions at a time,"
        f" {HOW.system_prompts} system prompts of {HOW.system_tokens} tokens, {SERVERS} servers,"
        f" b = {BATCH}. The sessions are generated, with Azure's lengths. The verdict is about"
        " these"
        + (
            "; lengths, gaps and hashes of recorded files are in the table."
            if evidence.inputs.with_prefixes
            else "; a recorded file with hashes of prompts was not given."
        ),
        f"of {cells} loads and orders, significantly faster: {'; '.join(texts)}",
        [
            _in_words(rows[rows["caches"] == name], str(name))
            for name in rows["caches"].drop_duplicates()
        ],
        judged(both, cells),
        f"With prefix caches {' and '.join(texts)} of {cells} loads and orders are significantly"
        " faster than jsq.",
        Table(
            ["caches", "load", "order", *ROUTERS, *(f"hits, {r}" for r in (JSQ, *ROUTERS))],
            [
                [
                    r["caches"],
                    f"{r['load']:g}",
                    NAMES[r["order"]],
                    *(short(r, router) for router in ROUTERS),
                    *(percentage(r[f"{router} hits"], 0) for router in (JSQ, *ROUTERS)),
                ]
                for r in rows.to_dict("records")
            ],
            "Mean latency above that of jsq, %, ± half of the 95 % interval, and share of prompt"
            " tokens that were cached. A load counts prompts as if nothing was cached.",
        ),
    )


def _in_words(rows: pd.DataFrame, name: str) -> str:
    """Return the range of each router against jsq in a sentence."""
    parts = [
        f"{router} {signed(rows[router].min())} to {signed(rows[router].max())} %, faster in"
        f" {int((rows[f'{router}_high'] < 0).sum())} of {len(rows)}, slower in"
        f" {int((rows[f'{router}_low'] > 0).sum())}"
        for router in ROUTERS
    ]
    word = "With" if CACHES.get(name, True) else "Without"
    what = "" if name in CACHES else f" and {name}"
    return f"{word} prefix caches{what}, above jsq: {'; '.join(parts)}."


QUESTION = Question("prefix caches", find, say, needs=needs, derives=derives)
