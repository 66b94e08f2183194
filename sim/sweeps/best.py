"""Find the best configuration of a sweep, and the configurations not significantly worse.

The mean of the best of many configurations is too low on the seeds that selected it. So half of the
seeds select the best configuration, and the other half ("fresh seeds") give its metric.

The configurations "not worse than the best" come from multiple comparisons with the best. Each
configuration is compared with the selected one, paired over the fresh seeds. It is worse if its t
exceeds the critical value: the largest t of all configurations exceeds that value in at most 5 % of
cases in which the differences of whole seeds change sign at random (max t of Westfall and Young).
Unlike Bonferroni, this takes into account that similar configurations differ in the same seeds.
With too few seeds, a one-sided t test at 5 % over the number of comparisons decides.

The set contains the truly best configuration in at least 95 % of sweeps, as far as differences are
symmetric: the probability of calling it worse than the selected one is at most 5 %.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lapsd.sim.experiment.metrics import METRICS, check_ratio, columns_of, observations
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS
from lapsd.sim.experiment.statistics import Interval, mean_interval, ratio_by_seed

ERROR = 0.05
RESAMPLES = 2_000
LEAST_SEEDS = 4
# all seeds, the seeds that select, and the fresh seeds
EACH_HALF = (slice(None), slice(0, None, 2), slice(1, None, 2))
ENOUGH_TO_FLIP = 6  # seeds for the test by sign changes
ALL_FLIPS = 10  # seeds up to which all sign vectors are tried
SOME_FLIPS = 2_000  # random sign vectors with more seeds


@dataclass(frozen=True, eq=False)
class Verdict:
    """The best configuration of one group of scenarios.

    Attributes
    ----------
    group : dict
        The values of the columns that define the group.
    metric : str
    best : str
        The configuration selected on half of the seeds.
    value : Interval
        Its metric on the other half, with a 95 % interval.
    selected_value : float
        Its metric on the half that selected it; as a rule too low.
    not_worse : DataFrame
        The configurations that are not significantly worse, best first: `policy`, `value`,
        `difference` to the best, and `wins`, the share of resamples of all seeds in which the
        configuration was the best.
    wins : DataFrame
        For each parameter that varies, the share of wins of each value: `parameter`, `value`,
        `wins`.
    configurations, seeds : int
        How many there are.
    unreliable : bool
        Whether the metric is a percentile of too few requests of a run (`RELIABLE`).

    Examples
    --------
    >>> import lapsd
    >>> records = lapsd.sweep(
    ...     "verdict", ["fcfs", "srpt"], seeds=8, requests=20, load=0.9, workers=1
    ... )
    >>> verdict = lapsd.best(records)[0]
    >>> verdict.best
    'srpt'
    """

    group: dict[str, Any]
    metric: str
    best: str
    value: Interval
    selected_value: float
    not_worse: pd.DataFrame
    wins: pd.DataFrame
    configurations: int
    seeds: int
    unreliable: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """The verdict as a JSON document."""
        return {
            "group": self.group,
            "metric": self.metric,
            "best": self.best,
            "value": self.value.value,
            "low": self.value.low,
            "high": self.value.high,
            "selected_value": self.selected_value,
            "configurations": self.configurations,
            "seeds": self.seeds,
            "unreliable": self.unreliable,
            "not_worse": self.not_worse.to_dict("records"),
            "wins": self.wins.to_dict("records"),
        }


def best(
    records: pd.DataFrame, by: Sequence[str] = (), metric: str = "mean_latency_s"
) -> list[Verdict]:
    """Return the best configuration of each group, and the configurations that are not worse.

    Parameters
    ----------
    records : pd.DataFrame
        The records of a sweep.
    by : Sequence[str], default ()
        Settings; each combination of their values is a group. Other settings that vary are averaged
        over: the mean of each seed is one observation.
    metric : str, default 'mean_latency_s'
        The metric to compare; lower is better.

    Raises
    ------
    ValueError
        For an unknown column, fewer than `LEAST_SEEDS` seeds, missing runs, or a ratio below its
        bound.

    Examples
    --------
    >>> import lapsd
    >>> records = lapsd.sweep(
    ...     "best-k", ["laps-sd"], {"K": [2, 4]}, seeds=8, requests=10, workers=1
    ... )
    >>> verdict = lapsd.best(records)[0]
    >>> verdict.configurations, verdict.seeds
    (2, 8)
    """
    if not isinstance(records, pd.DataFrame):
        raise ValueError(
            f"records: need a table, as lapsd.read_sweep returns it, not a {type(records).__name__}"
        )
    if lacking := [name for name in ("policy", "seed") if name not in records.columns]:
        raise ValueError(f"records: have no column {lacking[0]!r}")
    if not isinstance(metric, str):
        raise ValueError(f"metric={metric!r}: needs a text")
    if isinstance(by, str) or not isinstance(by, Iterable):
        raise ValueError(f"by={by!r}: needs a list of settings, as in ['load']")
    for name in [*by, *columns_of(metric)]:
        if name not in records.columns:
            raise ValueError(
                f"column {name!r}: the sweep has {', '.join(map(str, records.columns))}"
            )
        if name not in by and not pd.api.types.is_numeric_dtype(records[name]):
            raise ValueError(f"column {name!r}: is not a number")
    if metric in records.columns[: list(records.columns).index("seed") + 1]:
        raise ValueError(f"metric {metric!r}: is a parameter, a setting or the seed, and no metric")
    if unfit := [name for name in by if name not in SCENARIO_FIELDS]:
        raise ValueError(
            f"by {unfit[0]}: groups are made by settings only: {', '.join(SCENARIO_FIELDS)}"
        )
    if not by:
        return [_verdict(records, {}, metric)]
    return [
        _verdict(group, {name: _plain(v) for name, v in zip(by, key, strict=True)}, metric)
        for key, group in records.groupby(list(by), dropna=False)
    ]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and np.isnan(value) else value


def _refuse_undefined(records: pd.DataFrame, column: str, metric: str) -> None:
    """Raise `ValueError` if a metric is undefined in a run: a mean of the other runs of a
    configuration is not comparable with one of all runs.
    """
    undefined = records[records[column].isna()]
    if undefined.empty:
        return
    first = undefined.iloc[0]
    varied = [name for name in SCENARIO_FIELDS if records[name].nunique(dropna=False) > 1]
    where = ", ".join(f"{name} {_plain(first[name])}" for name in varied)
    of_setting = f" with {where}" if where else ""
    raise ValueError(f"metric {metric!r}: is not defined for {first['policy']}{of_setting}")


def _verdict(records: pd.DataFrame, group: dict[str, Any], metric: str) -> Verdict:
    for column in columns_of(metric):
        _refuse_undefined(records, column, metric)
    tables = [
        records.pivot_table(index="policy", columns="seed", values=column, aggfunc="mean")
        for column in columns_of(metric)
    ]
    known = next((m for m in METRICS if m.name == metric), None)
    if known is not None:
        check_ratio(records, known)
    sizes = records.groupby(["policy", "seed"]).size()
    if any(table.isna().to_numpy().any() for table in tables) or sizes.nunique() > 1:
        raise ValueError(
            "runs are missing: resume the sweep, or, if scenarios stopped after different numbers"
            " of seeds, give the settings that vary in by"
        )
    parts = [table.to_numpy(dtype=float) for table in tables]
    names = [str(name) for name in tables[0].index]
    configurations, seeds = parts[0].shape
    if seeds < LEAST_SEEDS:
        raise ValueError(
            f"{seeds} seeds: must be at least {LEAST_SEEDS}, since half of them select the best"
        )
    values, selecting, fresh = (_by_seed([part[:, some] for part in parts]) for some in EACH_HALF)
    for place in np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist()[:1]:
        raise ValueError(f"metric {metric!r}: is not defined for {names[place]}")
    chosen = int(selecting.mean(axis=1).argmin())
    difference = fresh - fresh[chosen]
    kept = ~_worse(difference, max(1, configurations - 1))
    share = share_of_wins(values)
    not_worse = pd.DataFrame(
        {
            "policy": names,
            "value": fresh.mean(axis=1),
            "difference": difference.mean(axis=1),
            "wins": share,
        }
    )[kept].sort_values(["value", "policy"], ignore_index=True)
    return Verdict(
        group,
        metric,
        names[chosen],
        mean_interval(fresh[chosen]),
        float(selecting[chosen].mean()),
        not_worse,
        _wins_of_values(records, names, share),
        configurations,
        seeds,
        known is not None and known.is_unreliable(int(observations(records).min())),
    )


def _by_seed(parts: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return the metric of each seed, shape (configurations, seeds).

    `parts` holds the metric's column, or the two columns of a ratio of means.
    """
    return parts[0] if len(parts) == 1 else ratio_by_seed(*parts)


def _worse(difference: np.ndarray[Any, Any], comparisons: int) -> np.ndarray[Any, Any]:
    """Return for each row of paired differences whether its mean is significantly above 0."""
    from scipy.special import stdtrit

    count = difference.shape[1]
    error = difference.std(axis=1, ddof=1) / np.sqrt(count)
    varied = error > 0
    if count >= ENOUGH_TO_FLIP and varied.any():
        critical = _largest_by_chance(difference[varied])
    else:
        critical = float(stdtrit(count - 1, 1 - ERROR / comparisons))
    worse: np.ndarray[Any, Any] = difference.mean(axis=1) > critical * error + 1e-15
    return worse


def _largest_by_chance(difference: np.ndarray[Any, Any]) -> float:
    """Return the value that the largest t of all rows exceeds in at most 5 % of cases in which
    whole seeds change sign at random.
    """
    count = difference.shape[1]
    if count <= ALL_FLIPS:
        signs = 1 - 2 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], size=(SOME_FLIPS, count))
        signs[0] = 1  # the observed differences are one of the cases
    top = np.full(len(signs), -np.inf)
    for rows in np.array_split(difference, -(-len(difference) // 1_000)):
        mean = rows @ signs.T / count
        variance = ((rows**2).mean(axis=1, keepdims=True) - mean**2) / (count - 1)
        top = np.maximum(top, (mean / np.sqrt(np.maximum(variance, 1e-300))).max(axis=0))
    return float(np.quantile(top, 1 - ERROR, method="higher"))


def share_of_wins(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the share of resamples of the seeds in which each configuration has the lowest mean.

    `values` has the shape (configurations, seeds); the result has one entry per configuration.
    """
    seeds = values.shape[1]
    weights = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    means = values @ weights.T
    lowest = np.isclose(means, means.min(axis=0), rtol=1e-12)
    wins: np.ndarray[Any, Any] = (lowest / lowest.sum(axis=0)).mean(axis=1)
    return wins


def _wins_of_values(
    records: pd.DataFrame, names: list[str], share: np.ndarray[Any, Any]
) -> pd.DataFrame:
    """Return the sum of wins by value of each parameter that varies."""
    first = list(records.columns).index("policy_name")
    parameters = list(records.columns)[
        first : list(records.columns).index(next(iter(SCENARIO_FIELDS)))
    ]
    each = records.drop_duplicates("policy").set_index("policy").loc[names]
    rows = []
    for parameter in parameters:
        if each[parameter].nunique() < 2:
            continue
        for value, wins in pd.Series(share, index=each[parameter]).groupby(level=0).sum().items():
            rows.append((parameter, _plain(value), float(wins)))
    return pd.DataFrame(rows, columns=["parameter", "value", "wins"])
