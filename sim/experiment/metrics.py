"""The metrics of runs: one list, which tables, records and figures read. A new metric is one entry.

A metric has a value for each run and a rule that aggregates the runs of all seeds. A ratio is
always a ratio of means: records hold its numerator and its denominator, and tables divide.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.sim.engine import Run
from lapsd.sim.experiment.bound import bound_latency_ns
from lapsd.sim.experiment.runs import Runs
from lapsd.sim.experiment.scenario import Scenario
from lapsd.sim.experiment.statistics import Interval, mean_interval, percentile, ratio_of_means

RELIABLE = 10  # expected observations above a percentile; tables mark percentiles with fewer
ROUNDING = 1e-9  # relative error of means
Values = NDArray[Any]
MEAN, TOTAL, MAXIMUM = "mean", "total", "maximum"


class Percentile(NamedTuple):
    """A percentile over requests: of one run, or of the requests of all seeds pooled.

    Attributes
    ----------
    percent : float
    of : function of Runs
        The quantity of each request, (R, C).
    scale : float
        Divisor of `of` that gives the metric's unit.
    """

    percent: float
    of: Callable[[Runs], NDArray[Any]]
    scale: float = 1.0

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the percentile of each row."""
        return percentile(values, self.percent) / self.scale


class Ratio(NamedTuple):
    """A ratio of two metrics' means over seeds. Records hold the two metrics, not the ratio.

    Attributes
    ----------
    least : float
        Lower bound of the ratio. A ratio below it is an error of this program, or of a record.
    """

    numerator: str
    denominator: str
    least: float = 0.0

    def check(self, numerator: Any, denominator: Any) -> None:
        """Check values of the two metrics.

        Raises
        ------
        ValueError
            If a ratio is below `least`, naming it.
        """
        above, below = np.asarray(numerator), self.least * np.asarray(denominator)
        bad = np.asarray(above < below * (1 - ROUNDING))
        if bad.any():
            at = np.unravel_index(int(bad.argmax()), bad.shape)
            raise ValueError(
                f"{self.numerator}={above[at]}: must be at least {self.least:g} times"
                f" {self.denominator}={np.asarray(denominator)[at]}; please report this, unless the"
                " record is damaged"
            )


@dataclass(frozen=True)
class Metric:
    """A quantity measured of each run.

    Attributes
    ----------
    name : str
        Name of the column; it ends with the unit.
    unit : str
        "s", "share" for a part of 1, "" for counts and other ratios.
    over_seeds : `MEAN`, `TOTAL`, `MAXIMUM`, a `Percentile` or a `Ratio`
        How the runs of all seeds are aggregated.
    of : function of Runs, or None
        The value of each run, (R,); None where `over_seeds` gives it.
    heading : str
        Heading of the column in the table of a comparison; "" leaves the metric out of it.
    whole : bool
        Whether the value is an integer.

    Examples
    --------
    >>> import lapsd
    >>> metric = next(metric for metric in lapsd.METRICS if metric.name == "p99_latency_s")
    >>> metric.unit, metric.is_unreliable(30), metric.is_unreliable(1000)
    ('s', True, False)
    """

    name: str
    unit: str
    over_seeds: str | Percentile | Ratio
    of: Callable[[Runs], Any] | None = None
    heading: str = ""
    whole: bool = False

    def is_unreliable(self, observations: int) -> bool:
        """Whether fewer than `RELIABLE` observations are expected above this percentile."""
        rule = self.over_seeds
        # rounded: 1 % of 1,000 is 10
        return (
            isinstance(rule, Percentile)
            and round(observations * (100 - rule.percent) / 100, 9) < RELIABLE
        )

    def of_runs(self, runs: Runs) -> NDArray[Any]:
        """Return the value of each run, (R,); not defined for ratios."""
        if isinstance(self.over_seeds, Percentile):
            return self.over_seeds(self.over_seeds.of(runs))
        assert self.of is not None
        return np.broadcast_to(np.asarray(self.of(runs)), len(runs.runs))


def _latency_percentile(percent: float) -> Metric:
    name = f"p{percent:g}"
    return Metric(
        f"{name}_latency_s",
        "s",
        Percentile(percent, lambda r: r.latency_ns, 1e9),
        heading=f"{name} s",
    )


def _bound_s(runs: Runs) -> Values:
    if not runs.prepared.scenario.bounded:
        return np.array(math.nan)
    servers = runs.prepared.scenario.servers
    bound = runs.of_workloads(lambda w: float(bound_latency_ns(w, servers).mean()) / 1e9)
    return np.where([run.policy.drafts is None for run in runs.runs], bound, math.nan)


def _imbalance(run: Run) -> float:
    """Return the coefficient of variation of the servers' busy times; NaN for one server."""
    if run.servers == 1:
        return math.nan
    busy_ns = run.end_ns - np.array(run.idle_by_server_ns, dtype=float)
    return float(busy_ns.std() / busy_ns.mean())


def _total_ns(values: Values) -> Values:
    """Return the sum of each row; as floats where 64 bits might not hold it."""
    small = len(values[0]) * int(values.max(initial=0)) < 2**62
    return np.asarray(values.sum(axis=1, dtype=np.int64 if small else float))


METRICS: tuple[Metric, ...] = (
    Metric("mean_latency_s", "s", MEAN, lambda r: r.latency_ns.mean(axis=1) / 1e9, "mean s"),
    _latency_percentile(50),
    _latency_percentile(90),
    _latency_percentile(99),
    Metric("max_latency_s", "s", MAXIMUM, lambda r: r.latency_ns.max(axis=1) / 1e9),
    Metric("mean_normalized_latency_s", "s", MEAN, lambda r: r.normalized_ns.mean(axis=1) / 1e9),
    Metric("p90_normalized_latency_s", "s", Percentile(90, lambda r: r.normalized_ns, 1e9)),
    Metric("mean_ttft_s", "s", MEAN, lambda r: r.first_token_ns.mean(axis=1) / 1e9),
    Metric("p99_ttft_s", "s", Percentile(99, lambda r: r.first_token_ns, 1e9)),
    Metric("mean_tpot_s", "s", MEAN, lambda r: r.token_ns.mean(axis=1) / 1e9),
    Metric("p99_tpot_s", "s", Percentile(99, lambda r: r.token_ns, 1e9)),
    Metric("p95_slo_scale", "", Percentile(95, lambda r: r.slo_scale)),
    Metric("mean_slowdown", "", MEAN, lambda r: r.slowdown.mean(axis=1), "slow-\ndown"),
    Metric("max_slowdown", "", MAXIMUM, lambda r: r.slowdown.max(axis=1), "worst"),
    Metric(
        "preemptions", "", TOTAL, lambda r: r.preemptions.sum(axis=1), "preemp-\ntions", whole=True
    ),
    Metric("switching_s", "s", MEAN, lambda r: _total_ns(r.switch_ns) / 1e9),
    Metric("busy_s", "s", MEAN, lambda r: (_total_ns(r.switch_ns) + _total_ns(r.service_ns)) / 1e9),
    Metric("switching_share", "share", Ratio("switching_s", "busy_s"), heading="switch-\ning %"),
    Metric(
        "utilisation",
        "share",
        MEAN,
        lambda r: [1 - run.idle_ns / (run.end_ns * run.servers) for run in r.runs],
    ),
    Metric("imbalance", "", MEAN, lambda r: [_imbalance(run) for run in r.runs], "imba-\nlance"),
    Metric("rounds", "", MEAN, lambda r: [run.rounds for run in r.runs], whole=True),
    Metric("drafted_tokens", "", MEAN, lambda r: r.drafted.sum(axis=1), whole=True),
    Metric("accepted_tokens", "", MEAN, lambda r: r.accepted.sum(axis=1), whole=True),
    Metric("accepted_share", "share", Ratio("accepted_tokens", "drafted_tokens")),
    Metric("prompt_tokens", "", MEAN, lambda r: r.prompt_tokens.sum(axis=1), whole=True),
    Metric("cached_tokens", "", MEAN, lambda r: r.cached_tokens.sum(axis=1), whole=True),
    Metric(
        "prefix_hit_rate", "share", Ratio("cached_tokens", "prompt_tokens"), heading="cache\nhits %"
    ),
    Metric("bound_s", "s", MEAN, _bound_s),
    Metric("ratio_to_bound", "", Ratio("mean_latency_s", "bound_s", 1.0), heading="over\nbound"),
    Metric(
        "realised_load",
        "",
        MEAN,
        lambda r: r.prepared.load_share * r.of_workloads(lambda w: w.realised_load),
    ),
)
"""Every metric, in the order of columns: tuple of `Metric`. The page on metrics has their formulas.

Examples
--------
>>> import lapsd
>>> [metric.name for metric in lapsd.METRICS if metric.unit == "share"]
['switching_share', 'utilisation', 'accepted_share', 'prefix_hit_rate']
"""


def comparison_metrics(scenario: Scenario) -> list[Metric]:
    """Return the metrics in the table of a comparison; cache hits only where there is a cache, and
    imbalance only of several servers.
    """
    shown = {"prefix_hit_rate": scenario.prefix_cache, "imbalance": scenario.servers > 1}
    hidden = [name for name, is_shown in shown.items() if not is_shown]
    return [metric for metric in METRICS if metric.heading and metric.name not in hidden]


def recorded() -> list[Metric]:
    """Return the metrics that records hold: all but ratios, which follow from others."""
    return [metric for metric in METRICS if not isinstance(metric.over_seeds, Ratio)]


def metric_named(name: str) -> Metric:
    """Return the metric of that name.

    Raises
    ------
    ValueError
        If no metric has that name, listing the known names.
    """
    for metric in METRICS:
        if metric.name == name:
            return metric
    raise ValueError(f"metric {name!r}: known are {', '.join(m.name for m in METRICS)}")


def columns_of(name: str) -> tuple[str, ...]:
    """Return the columns of records that hold a metric; for a ratio, its two parts."""
    rule = next((metric.over_seeds for metric in METRICS if metric.name == name), None)
    return (rule.numerator, rule.denominator) if isinstance(rule, Ratio) else (name,)


def record_metrics(runs: Runs) -> dict[str, Values]:
    """Return the metrics that records hold of runs: all but the ratios, (R,) each.

    Raises
    ------
    ValueError
        If a ratio of two of them is below its bound.
    """
    values = {metric.name: metric.of_runs(runs) for metric in recorded()}
    for metric in METRICS:
        if isinstance(rule := metric.over_seeds, Ratio):
            rule.check(values[rule.numerator], values[rule.denominator])
    return values


def summary(seeds: Sequence[Runs], by_seed: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
    """Return every metric over seeds, (P,) each, in order.

    Parameters
    ----------
    by_seed : `record_metrics` of the runs of each seed.
    """
    values = {name: np.array([of_seed[name] for of_seed in by_seed]) for name in by_seed[0]}
    return {metric.name: _over_seeds(metric, values, seeds) for metric in METRICS}


def _over_seeds(
    metric: Metric, values: Mapping[str, Values], seeds: Sequence[Runs]
) -> NDArray[Any]:
    rule = metric.over_seeds
    if isinstance(rule, Percentile):
        return rule(np.concatenate([rule.of(runs) for runs in seeds], axis=1))
    if isinstance(rule, Ratio):
        whole = values[rule.denominator].mean(axis=0)
        with np.errstate(invalid="ignore"):  # no drafts: 0 of 0
            return np.asarray(values[rule.numerator].mean(axis=0) / whole)
    of_seeds = values[metric.name]
    if rule == TOTAL:
        return np.asarray(of_seeds.sum(axis=0))
    return np.asarray(of_seeds.max(axis=0) if rule == MAXIMUM else of_seeds.mean(axis=0))


def over_seeds(records: pd.DataFrame, name: str) -> Interval:
    """Return a metric of a sweep's records with its interval over seeds.

    Within a seed, the metric is averaged over everything else that varies; it is NaN if it is
    undefined in one of these runs. Records hold no
    requests: a percentile is the mean of the runs' percentiles, a count is that of one run. A
    maximum is the largest value, without an interval.

    Raises
    ------
    ValueError
        If there is no such metric (listing the known ones), or the records lack it.
    """
    metric, columns = metric_named(name), _columns_in(records, name)
    check_ratio(records, metric)
    if metric.over_seeds == MAXIMUM:
        return Interval(float(records[name].max()), math.nan, math.nan)
    seeds = records.groupby("seed")[columns]
    by_seed = seeds.mean().where(seeds.count().eq(seeds.size(), axis=0))
    values = [by_seed[column].to_numpy(dtype=float) for column in columns]
    return mean_interval(values[0]) if len(values) == 1 else ratio_of_means(*values)


def _columns_in(records: pd.DataFrame, name: str) -> list[str]:
    columns = list(columns_of(name))
    if lacking := [column for column in columns if column not in records.columns]:
        raise ValueError(f"metric {name!r}: the records have no column {lacking[0]!r}")
    return columns


def check_ratio(records: pd.DataFrame, metric: Metric) -> None:
    """Raise `ValueError` if a ratio of a record is below its bound."""
    if isinstance(rule := metric.over_seeds, Ratio):
        rule.check(records[rule.numerator].to_numpy(), records[rule.denominator].to_numpy())


def by_group(records: pd.DataFrame, by: Sequence[str], metric: Metric) -> pd.DataFrame:
    """`over_seeds` for each value of some columns: those columns, `value`, `sd` and number of
    `runs`.
    """
    columns = _columns_in(records, metric.name)
    check_ratio(records, metric)
    groups = records.groupby(list(by), dropna=False, sort=False)[columns]
    made = groups.max() if metric.over_seeds == MAXIMUM else groups.mean()
    value = made[columns[0]] if len(columns) == 1 else made[columns[0]] / made[columns[1]]
    sd = groups.std()[columns[0]] if len(columns) == 1 else math.nan
    return pd.DataFrame({"value": value, "sd": sd, "runs": groups.size()}).reset_index()


def observations(records: pd.DataFrame) -> "pd.Series[int]":
    """Return the number of requests that each record's percentiles are of."""
    counted: pd.Series[int] = records["requests"] - records.get("warmup", 0)
    return counted
