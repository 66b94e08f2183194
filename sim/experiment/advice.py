"""How much to draft on a machine: draft lengths by batch size, and what they gain at a load."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lapsd.policies import FCFS
from lapsd.policies.drafts import DraftPolicy, Fixed, Gated, Off, Table
from lapsd.policies.drafts.spec import draft_spec_of
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import run_many
from lapsd.sim.experiment.statistics import Interval, ratio_of_means

TOLERANCE = 0.005  # share of the best throughput that a neighbour's draft length may lose
MOST = 7  # the longest fixed length that is tried, if the table has no longer one
BEST = "best fixed"


class Entry(NamedTuple):
    """The draft length for batch sizes from `first` to `last`."""

    first: int
    last: int
    length: int


def draft_table(pays: pd.DataFrame, tolerance: float = TOLERANCE) -> list[Entry]:
    """Return the shortest table of draft lengths whose throughput is within `tolerance` of the best
    at each batch size.

    Neighbouring batch sizes share a length. Of lengths that reach equally far, an entry has the one
    with the highest throughput over its batch sizes, relative to the best.

    Parameters
    ----------
    pays : as `lapsd.traces.speculation_pays` returns it, for successive batch sizes from 1.
    """
    rates = pays.pivot(index="batch", columns="draft_tokens", values="tokens_per_s")
    share = rates.div(rates.max(axis=1), axis=0).fillna(0.0)
    near = share >= 1 - tolerance
    entries: list[Entry] = []
    first, last = int(share.index[0]), int(share.index[-1])
    while first <= last:
        reach = near.loc[first:].cummin().sum()  # batch sizes from `first` that a length covers
        covered = int(reach.max())
        means = share.loc[first : first + covered - 1].mean()[reach == covered]
        length = int(means.to_numpy().argmax())
        entries.append(Entry(first, first + covered - 1, int(means.index.to_numpy()[length])))
        first += covered
    return entries


def vllm_config(table: Sequence[Entry]) -> dict[str, Any]:
    """Return the entries of vLLM's speculative configuration for a table."""
    return {
        "num_speculative_tokens": max(1, *(entry.length for entry in table)),
        "num_speculative_tokens_per_batch_size": [list(entry) for entry in table],
    }


def table_policy(table: Sequence[Entry]) -> Table:
    """Return the draft policy of a table."""
    lengths = "/".join(f"{entry.first}={entry.length}" for entry in table)
    return Table(most=max(entry.length for entry in table), lengths=lengths)


def candidates(table: Sequence[Entry]) -> dict[str, DraftPolicy]:
    """Return the draft policies that are tried with a table, by spec."""
    longest = max(MOST, *(entry.length for entry in table))
    fixed = [Fixed(most=length) for length in range(1, longest + 1)]
    return {draft_spec_of(one): one for one in (Off(), *fixed, table_policy(table), Gated())}


def gains(
    prepared: PreparedScenario,
    table: Sequence[Entry],
    seeds: int,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Return what draft policies gain under FCFS: off, the best fixed length, the table, `gated`.

    Columns: `name`, `draft_policy` (the spec), `mean_latency_s`, and the difference of the mean
    latency in percent to no drafts (`to_off`) and to the best fixed length (`to_best`), each with
    `_low` and `_high`, paired over seeds. The best fixed length is the best on these seeds.

    Raises
    ------
    ValueError
        If there is no seed, or a run is impossible.
    """
    if seeds < 1:
        raise ValueError(f"seeds={seeds}: must be at least 1")
    tried = candidates(table)
    policies = [FCFS(drafts=one) for one in tried.values()]
    means = np.zeros((seeds, len(policies)))
    for seed in range(seeds):
        runs = run_many(prepared, policies, [prepared.workload(seed)])
        means[seed] = [run.latency_ns[prepared.scenario.warmup :].mean() / 1e9 for run in runs]
        if progress:
            progress(seed + 1, seeds)
    latency = pd.DataFrame(means, columns=list(tried))
    fixed = [spec for spec, one in tried.items() if isinstance(one, Fixed)]
    best = str(latency[fixed].mean().idxmin())
    table_spec = draft_spec_of(table_policy(table))
    rows = []
    for name, spec in (("off", "off"), (BEST, best), ("table", table_spec), ("gated", "gated")):
        rows.append(
            {
                "name": name,
                "draft_policy": spec,
                "mean_latency_s": float(latency[spec].mean()),
                **_difference("to_off", latency, spec, "off"),
                **_difference("to_best", latency, spec, best),
            }
        )
    return pd.DataFrame(rows)


def _difference(name: str, latency: pd.DataFrame, spec: str, baseline: str) -> dict[str, float]:
    """Return a difference in percent as three columns."""
    ratio = ratio_of_means(latency[spec], latency[baseline])
    if spec == baseline:
        ratio = Interval(1.0, 1.0, 1.0)  # also where one seed allows no interval
    value, low, high = (100 * (x - 1) for x in ratio)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
