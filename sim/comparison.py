"""Compare policies on the same workloads: run them all, and turn what happened into a table.

`compare` is what the command line calls and what a notebook calls. Knows nothing of the command line.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from policies import FCFS, LAS, LPSJF, LPSRPT, SRPT, LapsSD, Policy, parameters_of, spec_of
from sim.bound import bound_latency_ns
from sim.engine import Capacity, Run, Timeline, simulate
from sim.figures.latency import plot_comparison
from sim.figures.schedules import plot_schedules
from sim.prepared import prepared_halves
from sim.statistics import Interval, mean_interval, paired_difference, ratio_of_means
from traces import (
    Arrivals,
    ArrivalTrace,
    LengthPredictor,
    Profile,
    Trace,
    Workload,
    draw_workload,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE_KEYS = (
    "policy", "mean_latency_s", "p50_latency_s", "p90_latency_s", "p99_latency_s", "mean_slowdown", "max_slowdown",
    "preemptions", "switching_share", "ratio_to_bound", "diff_to_fcfs_s", "diff_low_s", "diff_high_s", "seeds",
    "requests", "load", "realised_load",
)  # fmt: skip
REQUEST_COLUMNS = (
    "seed", "policy", "index", "request_id", "arrival_ns", "first_service_ns", "finish_ns", "service_ns", "switch_ns",
    "preemptions", "predicted_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Everything a comparison depends on besides trace, profile and policies; written beside its results."""

    requests: int = 30
    seeds: int = 20
    arrivals: Arrivals = field(default_factory=lambda: Arrivals(load=0.8))
    length_predictor: LengthPredictor = field(default_factory=LengthPredictor)
    kv_slots: int | None = 1
    split_seed: int = 0
    dataset: str | None = None
    draft_tokens: int | None = None
    batch: int = 1
    kv_tokens: int | None = None
    evict: str = "swap"
    prefill: str = "alone"
    swap: str | None = None
    swap_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, value, least in (("requests", self.requests, 1), ("seeds", self.seeds, 1),
                                   ("split_seed", self.split_seed, 0), ("kv_slots", self.kv_slots, 1)):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} {value}: must be at least {least}")
        _ = self.capacity

    @property
    def capacity(self) -> Capacity:
        """What the server can run and hold."""
        return Capacity(self.batch, self.kv_slots, self.kv_tokens, self.evict, self.prefill)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each policy did with the same workloads.

    Attributes
    ----------
    requests : DataFrame
        A row per seed, policy and request, with `REQUEST_COLUMNS` and, for the statistics, `size_ns` (the
        request's work), `output_tokens` and `dataset`.
    runs : DataFrame
        A row per policy and seed: mean latency, the bound, preemptions, switching and busy time, realised load.
    settings : Settings
    configuration : dict
        Settings, policies with all their parameters, trace and profile, as written beside results.
    timelines : dict of Timeline
        Of each policy's first seed, if they were asked for.
    """

    requests: pd.DataFrame
    runs: pd.DataFrame
    settings: Settings
    configuration: dict[str, Any]
    policies: Sequence[str]
    timelines: dict[str, Timeline] = field(default_factory=dict)

    def arrival_ns(self, policy: str, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
        """When each request of a run arrived, (N,); the same under every policy, but for a closed loop."""
        rows = self.requests[(self.requests["seed"] == seed) & (self.requests["policy"] == policy)]
        return rows["arrival_ns"].to_numpy()

    @property
    def clairvoyant(self) -> set[str]:
        """The policies that know true sizes; every table marks them."""
        return {policy for policy in self.policies if self.configuration["policies"][policy]["clairvoyant"]}

    def seed_means(self, policy: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Mean latency of each seed in seconds, (seeds,), in the order of seeds."""
        runs = self.runs[self.runs["policy"] == policy].sort_values("seed")
        if runs.empty:
            raise ValueError(f"policy {policy!r} was not compared: {', '.join(self.policies)} were")
        return runs["mean_latency_s"].to_numpy(dtype=float)

    def latency(self, policy: str) -> Interval:
        """Mean latency in seconds with its interval over seeds."""
        return mean_interval(self.seed_means(policy))

    def versus(self, policy: str) -> pd.DataFrame:
        """How much lower or higher `policy`'s mean latency is than each other's, in percent of the other's.

        Columns `policy` (the other one), `percent`, `low`, `high`: 95 %, ratio of means over seeds.
        """
        own = self.seed_means(policy)
        rows = [
            (other, *((r - 1) * 100 for r in ratio_of_means(own, self.seed_means(other))))
            for other in self.policies
            if other != policy
        ]
        return pd.DataFrame(rows, columns=["policy", "percent", "low", "high"])

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a policy, columns `TABLE_KEYS`. Percentiles are of latencies pooled over seeds."""
        return pd.DataFrame([self._row(policy) for policy in self.policies], columns=list(TABLE_KEYS))

    def _row(self, policy: str) -> dict[str, Any]:
        rows, runs = (f[f["policy"] == policy] for f in (self.requests, self.runs))
        latency = (rows["finish_ns"] - rows["arrival_ns"]).to_numpy(dtype=float)
        slowdown = latency / rows["size_ns"].to_numpy(dtype=float)
        p50, p90, p99 = np.percentile(latency, [50, 90, 99]) / 1e9
        difference = paired_difference(self.seed_means(policy), self.seed_means("fcfs"))
        switching = float(rows["switch_ns"].sum())
        load = self.settings.arrivals.load
        return {
            "policy": policy,
            "mean_latency_s": float(latency.mean()) / 1e9,
            "p50_latency_s": p50,
            "p90_latency_s": p90,
            "p99_latency_s": p99,
            "mean_slowdown": float(slowdown.mean()),
            "max_slowdown": float(slowdown.max()),
            "preemptions": int(rows["preemptions"].sum()),
            "switching_share": switching / (switching + float(rows["service_ns"].sum())),
            "ratio_to_bound": float(runs["mean_latency_s"].mean() / runs["bound_s"].mean()),
            "diff_to_fcfs_s": difference.value,
            "diff_low_s": 0.0 if policy == "fcfs" else difference.low,
            "diff_high_s": 0.0 if policy == "fcfs" else difference.high,
            "seeds": self.settings.seeds,
            "requests": self.settings.requests,
            "load": math.nan if load is None else load,
            "realised_load": float(runs["realised_load"].mean()),
        }

    @property
    def records(self) -> list[dict[str, Any]]:
        """The table as JSON-ready records; what is undefined is None."""
        return [
            {str(k): None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
            for row in self.table.to_dict("records")
        ]

    @property
    def slowdown_by_length(self) -> pd.DataFrame:
        """Mean slowdown by quartile of output length (rows: policies; columns: shortest quarter to longest)."""
        rows = self.requests
        quarter = pd.qcut(rows["output_tokens"].rank(method="first"), 4, labels=["Q1", "Q2", "Q3", "Q4"])
        slowdown = (rows["finish_ns"] - rows["arrival_ns"]) / rows["size_ns"]
        grouped = slowdown.groupby([rows["policy"], quarter], observed=True).mean()
        return grouped.unstack().loc[list(self.policies)]

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Mean latency per policy with its interval, and the bound."""
        intervals = pd.DataFrame([self.latency(policy) for policy in self.policies])
        rows = self.table.assign(mean_s=intervals["value"], high_s=intervals["high"])
        return plot_comparison(rows, float(self.runs["bound_s"].mean()), caption(self), ax)

    def plot_schedules(self, rows: int = 10) -> "Figure":
        """When each of the first requests of the first seed waited and ran; needs `compare(..., timeline=True)`.

        Raises
        ------
        ValueError
            If timelines were not recorded.
        """
        if not self.timelines:
            raise ValueError("no timelines were recorded: compare(..., timeline=True)")
        spans = {policy: pd.DataFrame(timeline.spans) for policy, timeline in self.timelines.items()}
        return plot_schedules(spans, {p: self.arrival_ns(p) for p in self.policies}, rows)


def caption(comparison: Comparison) -> str:
    """What was run: requests, load, seeds, predictor, where trace and profile come from."""
    settings, configuration = comparison.settings, comparison.configuration
    arrivals = settings.arrivals
    if arrivals.all_at_once:
        how = "all at once"
    elif arrivals.clients is not None:
        how = f"a closed loop of {arrivals.clients} clients who think for {arrivals.think_s:g} s"
    else:
        gaps = "Poisson" if arrivals.cv == 1 else f"Gamma gaps (CV {arrivals.cv:g})"
        how = f"{gaps if arrivals.recorded is None else arrivals.recorded} at "
        how += f"{arrivals.rate_per_s:g}/s" if arrivals.load is None else f"load {arrivals.load:g}"
    overloaded = " (overloaded: depends on the number of requests)" if arrivals.overloaded else ""
    source = configuration["trace"].get("source", "a trace")
    profile = configuration["profile"]
    drafts = "" if settings.draft_tokens is None else f", replayed at n = {settings.draft_tokens}"
    slots = "unlimited KV memory" if settings.kv_slots is None else f"{settings.kv_slots} KV slot(s)"
    if settings.kv_tokens is not None:
        slots = f"{settings.kv_tokens} KV tokens ({settings.evict})"
    if settings.swap is not None or settings.swap_scale != 1:
        slots += f", caches moved {settings.swap or 'as by default'} x {settings.swap_scale:g}"
    if settings.batch > 1:
        slots = f"batches of up to {settings.batch}, {slots}"
    return (
        f"{settings.requests} requests, {how}{overloaded}, {settings.seeds} seeds, from an empty server until it is "
        f"drained; lengths {settings.length_predictor}; {slots}. Trace: {source}"
        f"{', ' + settings.dataset if settings.dataset else ''}{drafts}. Costs: {profile['kind']} "
        f"({profile['weights']} weights)."
    )


def default_policies() -> list[Policy]:
    """The policies of the LAPS-SD paper, preemptive shortest predicted length, and clairvoyant SRPT."""
    return [FCFS(), LAS(), LPSJF(), LPSRPT(), LapsSD(), SRPT()]


def compare(
    trace: Trace,
    profile: Profile,
    policies: Iterable[Policy] | None = None,
    *,
    requests: int = 30,
    load: float | None = None,
    rate_per_s: float | None = None,
    all_at_once: bool = False,
    cv: float = 1.0,
    arrivals: ArrivalTrace | None = None,
    clients: int | None = None,
    think_s: float = 0.0,
    seeds: int = 20,
    length_predictor: str | LengthPredictor = "oracle",
    kv_slots: int | None = 1,
    split_seed: int = 0,
    dataset: str | None = None,
    draft_tokens: int | None = None,
    batch: int = 1,
    kv_tokens: int | None = None,
    evict: str = "swap",
    prefill: str = "alone",
    swap: str | None = None,
    swap_scale: float = 1.0,
    timeline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Serve the same random workloads under each policy.

    What a server knows beforehand is estimated on one half of the trace; workloads are drawn from the other.

    Parameters
    ----------
    trace, profile : what rounds accept, and what they cost.
    policies : default `default_policies()`. FCFS is run in any case, as the baseline of the differences.
    requests, seeds : requests a workload, and workloads (seeds 0, 1, ...).
    load, rate_per_s, all_at_once : at most one; default a load of 0.8.
    cv : of the gaps between arrivals; 1: a Poisson process, else Gamma gaps.
    arrivals : recorded ones, rescaled, instead.
    clients, think_s : instead of a load, a closed loop of so many clients, who think so long between requests.
    length_predictor : "oracle", "noisy:SD", "regressed:R" or "learned".
    kv_slots : requests whose KV caches fit in memory; None for all. With batches, 1 is taken for no such limit.
    batch, kv_tokens, evict, prefill : as in `sim.Capacity`.
    swap, swap_scale : another measured way of moving caches, and a factor on what moves take.
    split_seed : of the split into halves.
    dataset : only this data set's requests, or a mix such as `code=0.7+prose=0.3`.
    draft_tokens : replay the trace as if every round had drafted that many tokens; None: as recorded.
    timeline : record what each policy did in the first seed, round by round.
    progress : called with (runs done, runs in all).

    Raises
    ------
    ValueError
        Naming the value and the bound, for a parameter out of range or two policies with the same spec.
    """
    if load is None and rate_per_s is None and not all_at_once and clients is None:
        load = 0.8
    if isinstance(length_predictor, str):
        length_predictor = LengthPredictor.parse(length_predictor)
    coming = Arrivals(load, rate_per_s, all_at_once, cv, arrivals, clients, think_s)
    if batch > 1 and kv_slots == 1:
        kv_slots = None
    settings = Settings(
        requests, seeds, coming, length_predictor, kv_slots, split_seed, dataset, draft_tokens, batch, kv_tokens,
        evict, prefill, swap, swap_scale,
    )  # fmt: skip
    profile = profile.with_swap(swap, swap_scale)
    chosen = _by_spec(default_policies() if policies is None else policies)
    baseline = {} if "fcfs" in chosen else {"fcfs": FCFS()}
    everyone = {**chosen, **baseline}
    future, outlook, share_ns = prepared_halves(
        trace, profile, dataset=dataset, split_seed=split_seed, draft_tokens=draft_tokens, batch=batch
    )

    frames, runs, total = [], [], seeds * len(everyone)
    bound_policies: dict[str, Policy] = {}
    timelines = {spec: Timeline() for spec in chosen} if timeline else {}
    for seed in range(seeds):
        workload = draw_workload(future, requests=requests, seed=seed, arrivals=coming, predictor=length_predictor,
                                 mean_size_ns=share_ns)  # fmt: skip
        # with batches other schedules are feasible, and in a closed loop arrivals differ: no bound is claimed
        bounded = batch == 1 and clients is None
        bound_s = float(bound_latency_ns(workload).mean()) / 1e9 if bounded else math.nan
        for spec, policy in everyone.items():
            record = timelines.get(spec) if seed == 0 else None
            run = simulate(workload, policy, outlook=outlook, capacity=settings.capacity, timeline=record)
            bound_policies[spec] = run.policy
            frames.append(_request_rows(workload, run, spec))
            runs.append(_run_row(workload, run, spec, bound_s, share_ns / future.mean_size_ns))
            if progress:
                progress(len(runs), total)
    configuration = {
        "settings": asdict(settings),
        "policies": {spec: _described(policy, bound_policies[spec]) for spec, policy in chosen.items()},
        "trace": dict(trace.metadata),
        "profile": {"kind": profile.kind, "weights": profile.weights, "stamp": dict(profile.stamp)},
        "overloaded": coming.overloaded,
        "mean_size_s": share_ns / 1e9,
        "mean_round_ms": outlook.mean_round_ns / 1e6,
    }
    return Comparison(
        pd.concat(frames, ignore_index=True), pd.DataFrame(runs), settings, configuration, list(chosen), timelines
    )


def _by_spec(policies: Iterable[Policy]) -> dict[str, Policy]:
    chosen: dict[str, Policy] = {}
    for policy in policies:
        spec = spec_of(policy)
        if spec in chosen:
            raise ValueError(f"policy {spec} is given twice")
        chosen[spec] = policy
    if not chosen:
        raise ValueError("no policies: give at least one")
    return chosen


def _described(policy: Policy, bound: Policy) -> dict[str, Any]:
    """A policy's parameters, and what binding made of them (Sup_1 among them)."""
    parameters = {f.name: getattr(policy, f.name) for f in parameters_of(policy)}
    if isinstance(bound, LAS):
        parameters["thresholds_s"] = [b / 1e9 for b in bound.bounds_ns]
    return parameters | {"clairvoyant": policy.clairvoyant}


def _request_rows(workload: Workload, run: Run, spec: str) -> pd.DataFrame:
    trace, rows = workload.priced.trace, workload.rows
    frame = pd.DataFrame(
        {
            "seed": workload.seed,
            "policy": spec,
            "index": np.arange(len(rows)),
            "request_id": [trace.request_id[r] for r in rows],
            "arrival_ns": run.arrival_ns,
            "first_service_ns": run.first_service_ns,
            "finish_ns": run.finish_ns,
            "service_ns": run.service_ns,
            "switch_ns": run.switch_ns,
            "preemptions": run.preemptions,
            "predicted_tokens": workload.predicted_tokens,
        },
        columns=list(REQUEST_COLUMNS),
    )
    return frame.assign(
        size_ns=workload.size_ns,
        output_tokens=trace.output_tokens[rows],
        dataset=[trace.dataset[r] for r in rows],
    )


def _run_row(workload: Workload, run: Run, spec: str, bound_s: float, share: float) -> dict[str, Any]:
    return {
        "policy": spec,
        "seed": workload.seed,
        "mean_latency_s": float(run.latency_ns.mean()) / 1e9,
        "bound_s": bound_s,
        "preemptions": int(run.preemptions.sum()),
        "switch_s": float(run.switch_ns.sum()) / 1e9,
        "utilisation": 1 - run.idle_ns / run.end_ns,
        "realised_load": share * workload.realised_load,
    }
