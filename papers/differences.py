"""Differences between policies, paired by seed, with intervals: from records, and as columns of
tables.

A difference in a table is three columns: `NAME`, `NAME_low`, `NAME_high`, or `percent`, `low`,
`high`.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lapsd.sim.experiment.statistics import Interval, mean_interval, ratio_of_means


def seeds_by_policy(records: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """Mean latency, a column a policy, a row a seed, of the records with all of `where` (None: a
    missing value).
    """
    chosen = np.ones(len(records), dtype=bool)
    for name, value in where.items():
        column = records[name]
        chosen &= (column.isna() if value is None else column == value).to_numpy()
    return records[chosen].pivot(index="seed", columns="policy", values="mean_latency_s")


def percent(table: pd.DataFrame, policy: Any, baseline: Any) -> Interval:
    """By how much the policy's mean is above the baseline's, in percent, paired by seed."""
    value, low, high = ratio_of_means(table[policy], table[baseline])
    return Interval(100 * (value - 1), 100 * (low - 1), 100 * (high - 1))


def points(after: pd.DataFrame, before: pd.DataFrame, policy: str, baseline: str) -> Interval:
    """By how many points the policy's mean in percent of the baseline's is above what it was,
    paired by seed.

    The delta method, as in `ratio_of_means`, for a difference of two ratios.
    """
    ratios = [float(some[policy].mean() / some[baseline].mean()) for some in (after, before)]
    residuals = [
        (some[policy] - ratio * some[baseline]) / some[baseline].mean()
        for some, ratio in zip((after, before), ratios, strict=True)
    ]
    moved = 100 * (ratios[0] - ratios[1])
    around = mean_interval(100 * (residuals[0] - residuals[1]))
    return Interval(moved, moved + around.low, moved + around.high)


def reverse(change: Interval) -> Interval:
    """From a / b − 1 to b / a − 1, in percent."""
    value, low, high = (100 * (100 / (100 + x) - 1) for x in change)
    return Interval(value, high, low)


class Chosen(NamedTuple):
    """One of several, selected on half of the seeds, and its difference on the other half."""

    policy: str
    against: Interval


def selected(table: pd.DataFrame, policies: list[str], baseline: str) -> Chosen:
    """The best of some policies by every second seed, and its difference to the baseline on the
    seeds between.
    """
    best = str(table[policies].iloc[0::2].mean().idxmin())
    return Chosen(best, percent(table.iloc[1::2], best, baseline))


def against_all(records: pd.DataFrame, policy: str, *, policy_over_others: bool) -> pd.DataFrame:
    """A policy and each other: `policy` (the other), `percent`, `low`, `high`, `seeds`.

    Parameters
    ----------
    policy_over_others : the policy in percent of the others, or the others in percent of it.
    """
    table = seeds_by_policy(records)
    rows = []
    for other in table.columns.drop(policy):
        against = (
            percent(table, policy, other) if policy_over_others else percent(table, other, policy)
        )
        rows.append((other, *against, len(table)))
    return pd.DataFrame(rows, columns=["policy", "percent", "low", "high", "seeds"])


def columns(name: str, interval: Interval) -> dict[str, float]:
    """An interval as three columns of a row."""
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def interval_of(row: Any, name: str) -> Interval:
    """Back from three columns of a row."""
    return Interval(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))


def percent_of(row: Any) -> Interval:
    """Back from `percent`, `low`, `high`."""
    return Interval(float(row["percent"]), float(row["low"]), float(row["high"]))
