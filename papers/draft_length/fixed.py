"""Parameters that all questions share, fixed before anything was run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import sweep
from lapsd.policies import parse_policy, spec_of
from lapsd.policies.drafts import Fixed
from lapsd.policies.drafts.spec import draft_spec_of
from lapsd.policies.spec import with_drafts
from lapsd.sim.experiment.advice import draft_table, table_policy
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Profile, Trace, speculation_pays
from lapsd.traces.derived.speculation import largest_batch

BATCHES = (1, 4, 16, 64, 128)
MOST = 7  # the longest draft
OFF = "off"
FIXED = tuple(draft_spec_of(Fixed(most=k)) for k in range(1, MOST + 1))
LENGTHS = {spec: k for k, spec in enumerate(FIXED, 1)}
TABLE = "table"  # stands for the table that the training half gives
SURVIVAL, CONFIDENT = "survival", "survival:confidence=true"
PRICED, PASSES = "priced:confidence=true", "pass-by-pass"
ORACLE = "oracle"
RULES = {  # policies that a server could run, as tables name them
    TABLE: "table",
    "ema": "EMA",
    "goodput": "goodput",
    "goodput:places=true": "goodput by place",
    "gated": "gated",
    SURVIVAL: "survival",
    CONFIDENT: "survival with confidence",
    PRICED: "priced",
    PASSES: "pass by pass",
}
NEAR = 2.0  # percent: how close to the best fixed length a rule should be
SHARES = {1: 1, 4: 1, 16: 2, 64: 4, 128: 6}  # divisors of the number of seeds, by batch size
LEAST_SEEDS = 4
FIRST_SEED = 10_000  # the parameters of our rules were chosen on lower ones


def batches(inputs: Inputs) -> list[int]:
    """Return the batch sizes that the profile covers."""
    known = inputs.profile.costs.rounds
    return [b for b in BATCHES if min(known) <= b <= max(known)]


def requests(batch: int) -> int:
    """Return the number of requests of a workload: enough that queues form."""
    return max(100, 15 * batch)


def seeds(count: int, batch: int) -> int:
    """Return the number of seeds at a batch size: fewer where workloads are long."""
    return max(LEAST_SEEDS, count // SHARES[batch])


_TABLES: WeakKeyDictionary[Trace, tuple[Profile, str]] = WeakKeyDictionary()


def table_spec(inputs: Inputs) -> str:
    """Return the spec of the table of draft lengths that `lapsd advise` makes of the training
    half. The latest one of a trace is cached.
    """
    known = _TABLES.get(inputs.trace)
    if known is None or known[0] is not inputs.profile:
        train, profile = inputs.split().train.trace, inputs.profile
        largest = min(max(BATCHES), largest_batch(train, profile))
        pays = speculation_pays(
            train, profile, batches=range(1, largest + 1), lengths=range(MOST + 1)
        )
        known = (profile, draft_spec_of(table_policy(draft_table(pays))))
        _TABLES[inputs.trace] = known
    return known[1]


def draft_sweep(
    inputs: Inputs, pairs: Sequence[tuple[str, str]], batch: int, count: int, **settings: Any
) -> Sweep:
    """Return a sweep of orders with draft policies, at one batch size, on seeds that chose no
    parameter.
    """
    table = table_spec(inputs) if any(drafts == TABLE for _, drafts in pairs) else ""
    specs = [with_drafts(order, table if d == TABLE else d) for order, d in pairs]
    shared: dict[str, Any] = {"batch": batch, "requests": requests(batch), "kv_slots": "unlimited"}
    return replace(sweep(specs, count, **(shared | settings)), first_seed=FIRST_SEED)


def name_of(order: str, drafts: str) -> str:
    """Return the spec under which records have an order with a draft policy."""
    return spec_of(parse_policy(with_drafts(order, drafts)))


def latencies(records: pd.DataFrame, inputs: Inputs, pairs: Sequence[tuple[str, str]]) -> Any:
    """Return mean latency in seconds: one row per seed, a column (order, draft policy) per pair."""
    table = table_spec(inputs) if any(drafts == TABLE for _, drafts in pairs) else ""
    columns = {name_of(o, table if d == TABLE else d): (o, d) for o, d in pairs}
    wide = records.pivot(index="seed", columns="policy", values="mean_latency_s")
    return wide.rename(columns=columns)


def best_fixed(latency: Any, order: str = "fcfs") -> tuple[str, str]:
    """Return the column of the fixed length with the lowest mean on these seeds."""
    known = [(order, spec) for spec in (OFF, *FIXED) if (order, spec) in latency.columns]
    best: tuple[str, str] = latency[known].mean().idxmin()
    return best


def counts(size: Size) -> str:
    """Return the numbers of seeds by batch size, in words."""
    return ", ".join(f"{seeds(size.map, b)} at b = {b}" for b in BATCHES)
