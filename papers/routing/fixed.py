"""Parameters that all questions share, fixed before anything was run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from lapsd.papers.inputs import Inputs, Size
from lapsd.papers.laps_sd.fixed import sweep
from lapsd.papers.question import Evidence
from lapsd.papers.routing.lengths import AZURE, DRAFTED, with_azure_lengths
from lapsd.policies import parse_policy, spec_of
from lapsd.policies.drafts import Fixed
from lapsd.policies.drafts.spec import draft_spec_of
from lapsd.policies.spec import with_drafts
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Trace

SERVERS = (4, 16, 64)
BATCHES = (1, 16)
RANDOM, ROUND_ROBIN, JSQ, LEAST_WORK = "random", "round-robin", "jsq", "least-work"
SIMULATE = "simulate"
ROUTERS = (RANDOM, ROUND_ROBIN, JSQ, LEAST_WORK)
FCFS, LP_SRPT, LAPS_SD = "fcfs", "lp-srpt", "laps-sd"
ORDERS = (FCFS, LP_SRPT, LAPS_SD)
FIXED, GOODPUT, PRICED = draft_spec_of(Fixed(most=DRAFTED)), "goodput", "priced:confidence=true"
NO_POLICY = "recorded"  # the rounds of the trace: a router that knows true work needs them
DRAFT_NAMES = {FIXED: f"length {DRAFTED}", GOODPUT: "goodput", PRICED: "priced"}
EACH, WARMUP = 60, 15  # requests of a run for each server, and how many are left out
SAME = 2.0  # percent: differences whose interval lies within it count as equivalent
GAINS = -1.0  # percent: a decision that gains less does not count as a gain
HIGH_LOAD = 0.9  # the questions after the first three are asked at this load and above


NO_RECORDS = pd.DataFrame({"load": []})


class Cell(NamedTuple):
    """A number of servers with their batch size and load."""

    batch: int
    servers: int
    load: float

    def __str__(self) -> str:
        return f"b = {self.batch}, {self.servers} servers, load {self.load:g}"


def batches(inputs: Inputs) -> list[int]:
    """Return the batch sizes that the profile covers."""
    known = inputs.profile.costs.rounds
    return [b for b in BATCHES if min(known) <= b <= max(known)]


def seeds(size: Size, servers: int) -> int:
    """Return the number of seeds: fewer where workloads are long."""
    return {4: size.claims, 16: size.queues, 64: size.others}.get(servers, size.claims)


def high_loads(size: Size) -> list[float]:
    """Return the loads of the questions after the first three."""
    return [load for load in size.loads if load >= HIGH_LOAD]


def later_servers(size: Size) -> Sequence[int]:
    """Return the numbers of servers of the questions after the first three."""
    return SERVERS[:2] if size.name == "quick" else SERVERS


def routed_sweep(
    pairs: Sequence[tuple[str, str]], batch: int, servers: int, count: int, **settings: Any
) -> Sweep:
    """Return a sweep of orders with draft policies on so many servers."""
    shared: dict[str, Any] = {
        "trace": AZURE,
        "batch": batch,
        "servers": servers,
        "requests": EACH * servers,
        "warmup": WARMUP * servers,
    }
    return sweep([spec(*pair) for pair in pairs], count, **(shared | settings))


def spec(order: str, drafts: str) -> str:
    """Return the spec of an order with a draft policy."""
    return order if drafts == NO_POLICY else with_drafts(order, drafts)


def sweeps(
    name: str,
    inputs: Inputs,
    size: Size,
    pairs: Sequence[tuple[str, str]],
    servers: Sequence[int],
    **settings: Any,
) -> Mapping[str, Sweep]:
    """Return a sweep for each batch size and number of servers."""
    return {
        f"{name}-{b}-{n}": routed_sweep(pairs, b, n, seeds(size, n), **settings)
        for b in batches(inputs)
        for n in servers
    }


def derives(inputs: Inputs, size: Size) -> Mapping[str, Callable[[], Trace]]:
    """Return the function that makes the trace with Azure's lengths."""
    return {AZURE: partial(with_azure_lengths, inputs.trace)}


def cells(evidence: Evidence, name: str) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """Return the records of each cell of a group of sweeps."""
    for batch in batches(evidence.inputs):
        for servers in SERVERS:
            records = evidence.records.get(f"{name}-{batch}-{servers}", NO_RECORDS)
            for load, some in records.groupby("load"):
                yield Cell(batch, servers, float(str(load))), some


def latencies(
    records: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    *more: str,
    values: str = "mean_latency_s",
) -> pd.DataFrame:
    """Return mean latency in seconds, or another column: one row per seed, and one column (router,
    order, draft policy, values of `more`) per combination.
    """
    names = {spec_of(parse_policy(spec(*pair))): pair for pair in pairs}
    keys = [
        (router, *names[policy], *rest)
        for router, policy, *rest in records[["router", "policy", *more]].itertuples(index=False)
    ]
    wide = records.assign(key=pd.Series(keys, index=records.index))
    return wide.pivot(index="seed", columns="key", values=values)


def counts(size: Size) -> str:
    """Return the numbers of seeds by number of servers, in words."""
    return ", ".join(f"{seeds(size, n)} with {n} servers" for n in SERVERS)
