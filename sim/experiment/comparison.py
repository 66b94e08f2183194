"""Compare policies on the same workloads: run all of them, and tabulate the results.

The command line and notebooks call `compare`. Knows nothing of the command line.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lapsd.policies import (
    FCFS,
    LAS,
    LPSJF,
    LPSRPT,
    SRPT,
    KernelGittins,
    LapsSD,
    Policy,
    parameters_of,
)
from lapsd.policies.calls import derived_of
from lapsd.policies.drafts.spec import draft_spec_of
from lapsd.policies.spec import by_spec
from lapsd.sim.engine import Timeline, check_engine
from lapsd.sim.experiment.metrics import Values, comparison_metrics, record_metrics, summary
from lapsd.sim.experiment.no_effect import refuse_without_effect
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.sim.experiment.runs import Runs, run, run_many
from lapsd.sim.experiment.scenario import Scenario
from lapsd.sim.experiment.scenario_field import whole
from lapsd.sim.experiment.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    ratio_of_means,
)
from lapsd.sim.figures.latency import plot_comparison
from lapsd.sim.figures.schedules import plot_schedules
from lapsd.traces import Profile, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REQUEST_COLUMNS = (
    "seed",
    "policy",
    "index",
    "request_id",
    "arrival_ns",
    "first_service_ns",
    "first_token_ns",
    "finish_ns",
    "service_ns",
    "switch_ns",
    "preemptions",
    "cached_tokens",
    "predicted_tokens",
)
SEEDS, MOST_SEEDS = 20, 100_000
# requests with a timeline: SimPy's time grows with the square of the requests of an overload, and
# 1,000 of them take about 5 s per policy
MOST_RECORDED = 1_000


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results of several policies on the same workloads.

    Attributes
    ----------
    requests : DataFrame
        One row per seed, policy and request: `REQUEST_COLUMNS`, `size_ns` (the request's work),
        `output_tokens` and `dataset`; of several servers, `server`, the number of the request's.
    runs : DataFrame
        One row per policy and seed, with every metric that is not a ratio.
    table : DataFrame
        One row per policy: `policy`, the metrics with a heading, the difference to FCFS, and what
        was run.
    scenario : Scenario
    seeds : int
    configuration : dict
        Scenario, seeds, policies with all parameters, trace and profile, as in `_config.json`.
    caption : str
        Description of the runs.
    timelines : dict of Timeline
        Timeline of each policy's first seed, if requested.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS, LapsSD
    >>> result = lapsd.compare(policies=[FCFS(), LapsSD()], requests=20, seeds=3)
    >>> result.policies
    ['fcfs', 'laps-sd']
    >>> result.latency("fcfs").low < result.latency("fcfs").value
    True
    >>> result.versus("laps-sd")[["policy", "percent"]].round(1)
      policy  percent
    0   fcfs    -23.5
    """

    requests: pd.DataFrame
    runs: pd.DataFrame
    table: pd.DataFrame
    scenario: Scenario
    seeds: int
    configuration: dict[str, Any]
    caption: str
    timelines: dict[str, Timeline] = field(default_factory=dict)

    @property
    def policies(self) -> list[str]:
        """The specs of the compared policies, in order."""
        return list(self.configuration["policies"])

    @property
    def counted(self) -> pd.DataFrame:
        """The rows of the requests that statistics count: all after the warm-up."""
        return self.requests[self.requests["index"] >= self.scenario.warmup]

    @property
    def observations(self) -> int:
        """Number of latencies behind each percentile of a policy."""
        return self.seeds * (self.scenario.requests - self.scenario.warmup)

    def arrival_ns(self, policy: str, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the arrival times of a run, (N,); in a closed loop they depend on the policy."""
        rows = self.requests[(self.requests["seed"] == seed) & (self.requests["policy"] == policy)]
        if rows.empty:
            raise ValueError(f"policy {policy!r}, seed {seed}: there is no such run")
        return rows["arrival_ns"].to_numpy()

    @property
    def clairvoyant(self) -> set[str]:
        """The policies that know the true sizes; every table marks them."""
        return {
            spec for spec, known in self.configuration["policies"].items() if known["clairvoyant"]
        }

    def seed_means(self, policy: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the mean latency of each seed in seconds, (seeds,)."""
        runs = self.runs[self.runs["policy"] == str(policy)].sort_values("seed")
        if runs.empty:
            raise ValueError(f"policy {policy!r} was not compared: {', '.join(self.policies)} were")
        return runs["mean_latency_s"].to_numpy(dtype=float)

    def latency(self, policy: str) -> Interval:
        """Return the mean latency in seconds with its interval over seeds."""
        return mean_interval(self.seed_means(policy))

    def versus(self, policy: str) -> pd.DataFrame:
        """Return the mean latency of `policy` relative to that of every other policy.

        Columns `policy` (the other one), `percent` (of the other's mean latency; negative where
        `policy` is faster), `low`, `high`: the 95 % interval of the ratio of means over seeds.
        """
        own = self.seed_means(policy)
        rows = [
            (other, *((r - 1) * 100 for r in ratio_of_means(own, self.seed_means(other))))
            for other in self.policies
            if other != policy
        ]
        return pd.DataFrame(rows, columns=["policy", "percent", "low", "high"])

    @property
    def records(self) -> list[dict[str, Any]]:
        """The table as JSON-ready records; undefined values are None."""
        return [
            {
                str(k): None if isinstance(v, float) and not math.isfinite(v) else v
                for k, v in row.items()
            }
            for row in self.table.to_dict("records")
        ]

    @cached_property
    def slowdown_by_length(self) -> pd.DataFrame:
        """Mean slowdown by quarter of output length: one row per policy, shortest quarter first.

        The quarters are of the workload, so they hold the same requests for every policy. With
        fewer than four requests some quarters are empty (NaN).
        """
        rows = self.counted
        lengths = rows[rows["policy"] == rows["policy"].iloc[0]].set_index(["seed", "index"])
        rank = lengths["output_tokens"].rank(method="first") - 1
        quarter = (4 * rank // len(rank)).astype(int).rename("quarter")
        slowdown = (rows["finish_ns"] - rows["arrival_ns"]) / rows["size_ns"]
        rows = rows.assign(slowdown=slowdown).join(quarter, on=["seed", "index"])
        means = rows.groupby(["policy", "quarter"])["slowdown"].mean().unstack()
        return means.reindex(index=self.policies, columns=range(4)).set_axis(
            ["Q1", "Q2", "Q3", "Q4"], axis=1
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the mean latency of each policy with its interval, and the bound."""
        intervals = pd.DataFrame([self.latency(policy) for policy in self.policies])
        rows = self.table.assign(mean_s=intervals["value"], high_s=intervals["high"])
        return plot_comparison(rows, float(self.runs["bound_s"].mean()), self.caption, ax)

    def plot_schedules(self, rows: int = 10) -> "Figure":
        """Draw when the first requests of the first seed waited and ran.

        Raises
        ------
        ValueError
            If timelines were not recorded: `compare(..., timeline=True)` records them.
        """
        if not self.timelines:
            raise ValueError("no timelines were recorded: compare(..., timeline=True)")
        spans = {
            policy: pd.DataFrame(timeline.spans) for policy, timeline in self.timelines.items()
        }
        return plot_schedules(spans, {p: self.arrival_ns(p) for p in self.policies}, rows)


def default_policies() -> list[Policy]:
    """Return the policies of the LAPS-SD paper, LP-SRPT, `kernel-gittins`, and
    clairvoyant SRPT.

    Examples
    --------
    >>> import lapsd
    >>> [policy.name for policy in lapsd.default_policies()]
    ['fcfs', 'las', 'lp-sjf', 'lp-srpt', 'laps-sd', 'kernel-gittins', 'srpt']
    """
    return [FCFS(), LAS(), LPSJF(), LPSRPT(), LapsSD(), KernelGittins(), SRPT()]


def compare(
    trace: Trace | str | Path = "reference",
    profile: Profile | str | Path = "reference",
    policies: Iterable[Policy] | None = None,
    *,
    seeds: int = SEEDS,
    timeline: bool = False,
    engine: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    **scenario: Any,
) -> Comparison:
    """Serve the same random workloads under each policy.

    One half of the trace is the server's history; workloads are drawn from the other half.

    Parameters
    ----------
    trace, profile : Trace or Profile, str or Path, default 'reference'
        Acceptances and costs of rounds: objects, files, or names of bundled ones.
    policies : Iterable[Policy] or None, optional
        By default `default_policies()`. FCFS always runs, as the baseline of differences.
    seeds : int, default 20
        Workloads (seeds 0, 1, ...).
    timeline : bool, default False
        Record the first seed of each policy, round by round, of at most `MOST_RECORDED` requests.
    engine : str, default 'auto'
        The program that runs, as in `lapsd.simulate`; results do not depend on it. A timeline is
        recorded in SimPy.
    progress : Callable[[int, int], None] or None, optional
        Called with (runs done, runs in all).
    **scenario : Any
        Anything in `sim.Scenario`, as in `load=0.9, batch=4`; `arrivals` and `length_predictor` may
        be objects, `rate_per_s` and `think_s` are `rate` and `think`, and `kv_slots="unlimited"`
        says that all caches fit.

    Raises
    ------
    ValueError
        Naming the value and the bound, or two policies with the same spec.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS, LapsSD
    >>> result = lapsd.compare(
    ...     "reference", "reference", [FCFS(), LapsSD(K=4)], requests=20, seeds=3
    ... )
    >>> result.table[["policy", "preemptions"]]
        policy  preemptions
    0     fcfs            0
    1  laps-sd           60
    """
    prepared = PreparedScenario.of(trace, profile, **scenario)
    chosen = _policies(policies)
    refuse_without_effect([prepared], chosen)
    return compare_on(
        prepared, chosen, seeds=seeds, timeline=timeline, engine=engine, progress=progress
    )


def compare_on(
    prepared: PreparedScenario,
    policies: Iterable[Policy] | None = None,
    *,
    seeds: int = SEEDS,
    timeline: bool = False,
    engine: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """`compare` on a prepared scenario."""
    check_engine(engine)
    seeds = whole(seeds, "seeds")
    if not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"seeds={seeds}: must be at least 1 and at most {MOST_SEEDS}")
    if timeline and prepared.scenario.requests > MOST_RECORDED:
        requests = f"requests={prepared.scenario.requests}"
        raise ValueError(f"{requests}: must be at most {MOST_RECORDED} with a timeline")
    chosen = by_spec(_policies(policies))
    if not chosen:
        raise ValueError("no policies: give at least one")
    with_baseline = {**chosen, "fcfs": chosen.get("fcfs", FCFS())}  # the baseline
    specs = list(with_baseline)
    timelines = {spec: Timeline() for spec in chosen} if timeline else {}
    workloads = [prepared.workload(seed) for seed in range(seeds)]
    recorded_seeds = range(1 if timeline else 0)
    all_runs = itertools.chain(
        (
            run(prepared, policy, seed, timelines.get(spec), engine=engine)
            for seed in recorded_seeds
            for spec, policy in with_baseline.items()
        ),
        run_many(
            prepared, list(with_baseline.values()), workloads[len(recorded_seeds) :], engine=engine
        ),
    )
    of_seeds = []
    for seed in range(seeds):
        runs = []
        for one in itertools.islice(all_runs, len(with_baseline)):
            runs.append(one)
            if progress:
                progress(seed * len(with_baseline) + len(runs), seeds * len(with_baseline))
        of_seeds.append(Runs(prepared, [workloads[seed]], runs))
    specs, values = list(with_baseline), [record_metrics(runs) for runs in of_seeds]
    records = [
        pd.DataFrame({"policy": specs, "seed": seed, **measures})
        for seed, measures in enumerate(values)
    ]
    bound = dict(zip(specs, (run.policy for run in of_seeds[0].runs), strict=True))
    return Comparison(
        requests=_request_rows(of_seeds, specs),
        runs=pd.concat(records, ignore_index=True),
        table=_table(prepared.scenario, specs, summary(of_seeds, values), values)[: len(chosen)],
        scenario=prepared.scenario,
        seeds=seeds,
        configuration=_configuration(
            prepared, seeds, {spec: (chosen[spec], bound[spec]) for spec in chosen}
        ),
        caption=prepared.caption(seeds),
        timelines=timelines,
    )


def _policies(given: Iterable[Policy] | None) -> list[Policy]:
    """Return the policies that a caller gives, or the default ones.

    Raises
    ------
    ValueError
        If one is no policy.
    """
    policies: list[Any]
    if given is None:
        policies = default_policies()
    else:
        several = isinstance(given, Iterable) and not isinstance(given, str)
        policies = list(given) if several else [given]
    for policy in policies:
        if not isinstance(policy, Policy):
            raise ValueError(
                f"policies: needs objects of Policy, such as lapsd.parse_policy('fcfs'), not"
                f" {policy!r}"
            )
    return policies


def _configuration(
    prepared: PreparedScenario, seeds: int, policies: dict[str, tuple[Policy, Policy]]
) -> dict[str, Any]:
    profile = prepared.profile
    return {
        "settings": asdict(prepared.scenario) | {"seeds": seeds},
        "policies": {spec: _described(*both) for spec, both in policies.items()},
        "trace": prepared.trace.provenance.to_json(),
        "profile": {
            "kind": profile.kind,
            "weights": profile.weights,
            "stamp": profile.provenance.to_json(),
        },
        "overloaded": prepared.scenario.arrival_process().overloaded,
        "mean_size_s": prepared.split.share_ns / 1e9,
        "mean_round_ms": prepared.context.mean_round_ns / 1e6,
    }


def _described(policy: Policy, bound: Policy) -> dict[str, Any]:
    """Return a policy's parameters, and the values that binding derived, such as thresholds."""
    parameters = {f.name: getattr(policy, f.name) for f in parameters_of(policy)}
    drafts = policy.drafts
    if drafts is not None:
        parameters["draft_policy"] = draft_spec_of(drafts)
    knows = policy.clairvoyant or (drafts is not None and drafts.clairvoyant)
    return parameters | derived_of(bound) | {"clairvoyant": knows}


def _table(
    scenario: Scenario,
    specs: list[str],
    over_seeds: Mapping[str, Values],
    of_seeds: Sequence[Mapping[str, Values]],
) -> pd.DataFrame:
    table = pd.DataFrame(
        {"policy": specs, **{m.name: over_seeds[m.name] for m in comparison_metrics(scenario)}}
    )
    means = np.array([measures["mean_latency_s"] for measures in of_seeds]).T
    baseline = specs.index("fcfs")
    differences = [paired_difference(own, means[baseline]) for own in means]
    differences[baseline] = Interval(0.0, 0.0, 0.0)  # also where one seed allows no interval
    for column, values in zip(
        ("diff_to_fcfs_s", "diff_low_s", "diff_high_s"), zip(*differences, strict=True), strict=True
    ):
        table[column] = values
    load = math.nan if scenario.load is None else scenario.load
    realised = over_seeds["realised_load"]
    return table.assign(
        seeds=len(of_seeds), requests=scenario.requests, load=load, realised_load=realised
    )


def _request_rows(of_seeds: Sequence[Runs], specs: list[str]) -> pd.DataFrame:
    """Return one row per seed, policy and request; columns are joined first, which is faster than
    joining tables.
    """
    runs = [
        (runs.workloads[0], spec, one)
        for runs in of_seeds
        for spec, one in zip(specs, runs.runs, strict=True)
    ]
    trace, requests = runs[0][0].priced.trace, len(runs[0][0].rows)
    rows = np.concatenate([workload.rows for workload, _, _ in runs])
    of_workload = {
        "seed": np.repeat([workload.seed for workload, _, _ in runs], requests),
        "policy": [spec for _, spec, _ in runs for _ in range(requests)],
        "index": np.tile(np.arange(requests), len(runs)),
        "request_id": [trace.request_id[row] for row in rows],
        "predicted_tokens": np.concatenate([work.predicted_tokens for work, _, _ in runs]),
        "size_ns": np.concatenate([work.size_ns for work, _, _ in runs]),
        "output_tokens": trace.output_tokens[rows],
        "dataset": [trace.dataset[row] for row in rows],
    }
    of_runs = {
        column: np.concatenate([getattr(one, column) for _, _, one in runs])
        for column in REQUEST_COLUMNS
        if column not in of_workload
    }
    if runs[0][2].server is not None:
        of_workload["server"] = np.concatenate([one.server for _, _, one in runs])
    rest = [column for column in of_workload if column not in REQUEST_COLUMNS]
    return pd.DataFrame(of_workload | of_runs)[[*REQUEST_COLUMNS, *rest]]
