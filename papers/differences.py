"""Differences between policies, paired by seed, with 95 % intervals.

A difference takes three columns of a table: `NAME`, `NAME_low` and `NAME_high`, or `percent`, `low`
and `high`.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lapsd.sim.experiment.statistics import Interval, mean_interval, ratio_of_means


def seeds_by_policy(records: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """Return mean latency in seconds: one row per seed, one column per policy.

    Parameters
    ----------
    where : values that a record must have to be included; None stands for a missing value.
    """
    chosen = np.ones(len(records), dtype=bool)
    for name, value in where.items():
        column = records[name]
        chosen &= (column.isna() if value is None else column == value).to_numpy()
    return records[chosen].pivot(index="seed", columns="policy", values="mean_latency_s")


def percent(table: pd.DataFrame, policy: Any, baseline: Any) -> Interval:
    """Return how far the policy's mean is above the baseline's, in percent, paired by seed."""
    value, low, high = ratio_of_means(table[policy], table[baseline])
    return Interval(100 * (value - 1), 100 * (low - 1), 100 * (high - 1))


def points(after: pd.DataFrame, before: pd.DataFrame, policy: str, baseline: str) -> Interval:
    """Return the change of the policy's mean in percent of the baseline's, in percentage points.

    Seeds are paired. The interval is by the delta method, as in `ratio_of_means`, for a difference
    of two ratios.
    """
    ratios = [float(some[policy].mean() / some[baseline].mean()) for some in (after, before)]
    residuals = [
        (some[policy] - ratio * some[baseline]) / some[baseline].mean()
        for some, ratio in zip((after, before), ratios, strict=True)
    ]
    difference = 100 * (ratios[0] - ratios[1])
    around = mean_interval(100 * (residuals[0] - residuals[1]))
    return Interval(difference, difference + around.low, difference + around.high)


def product(latency: Any, both: Any, base: Any, one: Any, other: Any) -> Interval:
    """Return how far both · base is above one · other, in percent: 0 if what two decisions gain
    multiplies.

    The interval is by the delta method on logarithms, paired by seed.
    """
    signs = ((both, 1), (base, 1), (one, -1), (other, -1))
    means = {key: float(latency[key].mean()) for key, _ in signs}
    log = sum(sign * np.log(means[key]) for key, sign in signs)
    noise = sum(sign * latency[key] / means[key] for key, sign in signs)
    around = mean_interval(noise - noise.mean())
    value, low, high = (100 * (np.exp(log + x) - 1) for x in (0.0, around.low, around.high))
    return Interval(float(value), float(low), float(high))


def reverse(change: Interval) -> Interval:
    """Return b / a − 1 for a difference of a / b − 1, both in percent."""
    value, low, high = (100 * (100 / (100 + x) - 1) for x in change)
    return Interval(value, high, low)


class Chosen(NamedTuple):
    """A policy selected on half of the seeds, and its difference to a baseline on the rest."""

    policy: str
    against: Interval


def selected(table: pd.DataFrame, policies: list[str], baseline: str) -> Chosen:
    """Select the best policy on every second seed, and compare it on the remaining seeds."""
    best = str(table[policies].iloc[0::2].mean().idxmin())
    return Chosen(best, percent(table.iloc[1::2], best, baseline))


def against_all(records: pd.DataFrame, policy: str, *, policy_over_others: bool) -> pd.DataFrame:
    """Compare a policy with each other policy.

    Returns the columns `policy` (the other one), `percent`, `low`, `high` and `seeds`.

    Parameters
    ----------
    policy_over_others : True: the policy relative to the others; False: the others relative to it.
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
    """Return an interval as three columns of a row."""
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def interval_of(row: Any, name: str) -> Interval:
    """Return the interval in the three columns `NAME`, `NAME_low` and `NAME_high` of a row."""
    return Interval(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))


def percent_of(row: Any) -> Interval:
    """Return the interval in the columns `percent`, `low` and `high` of a row."""
    return Interval(float(row["percent"]), float(row["low"]), float(row["high"]))
