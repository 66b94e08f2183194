"""Doing a chunk of a sweep: its runs, a record each. What runs share is made once a process.

A chunk's records depend on the sweep, the traces and the profiles alone: not on who does it, when, or beside whom.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from policies import Outlook, Policy, parameters_of, spec_of
from sim.bound import bound_latency_ns
from sim.engine import Run, simulate
from sim.prepared import prepared_halves
from sim.sweeps.grid import KINDS, SETTINGS, Chunk, Setting, Sweep, kind_of
from traces import ArrivalTrace, PricedTrace, Profile, Trace, Workload, draw_workload

METRICS = (
    "mean_latency_s", "p50_latency_s", "p90_latency_s", "p99_latency_s", "max_latency_s", "mean_slowdown",
    "max_slowdown", "preemptions", "switching_s", "switching_share", "utilisation", "rounds", "bound_s",
    "ratio_to_bound", "realised_load",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Place:
    """What a setting is run on: the half of a trace that workloads are drawn from, and what is known of the other."""

    future: PricedTrace
    outlook: Outlook
    share_ns: float


@dataclass(eq=False)
class Work:
    """A sweep with its inputs, as workers get it.

    Attributes
    ----------
    traces, profiles, arrivals : by the names that settings give them
    trace_sha256, profile_sha256, arrivals_sha256 : by the same names
        Of their files.
    """

    sweep: Sweep
    traces: Mapping[str, Trace]
    profiles: Mapping[str, Profile]
    trace_sha256: Mapping[str, str]
    profile_sha256: Mapping[str, str]
    arrivals: Mapping[str, ArrivalTrace] = field(default_factory=dict)
    arrivals_sha256: Mapping[str, str] = field(default_factory=dict)
    _places: dict[tuple[Any, ...], Place] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # what was derived is derived again by whoever gets it
        return {f.name: {} if f.name == "_places" else getattr(self, f.name) for f in fields(self)}

    @cached_property
    def policies(self) -> list[Policy]:
        """The sweep's, in order."""
        return self.sweep.configurations()

    @cached_property
    def settings(self) -> list[Setting]:
        """The sweep's, in order."""
        return self.sweep.combinations()

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The sweep's, in order."""
        return self.sweep.chunks()

    def place(self, setting: Setting) -> Place:
        """What the setting is run on.

        Raises
        ------
        ValueError
            If the trace has no such data set or draft length, or the profile does not cover the batch.
        """
        names = ("trace", "profile", "dataset", "split_seed", "draft_tokens", "batch", "swap", "swap_scale")
        key = tuple(getattr(setting, name) for name in names)
        if key not in self._places:
            profile = self.profiles[setting.profile].with_swap(setting.swap, setting.swap_scale)
            future, outlook, share_ns = prepared_halves(
                self.traces[setting.trace], profile, dataset=setting.dataset,
                split_seed=setting.split_seed, draft_tokens=setting.draft_tokens, batch=setting.batch,
            )  # fmt: skip
            self._places[key] = Place(future, outlook, share_ns)
        return self._places[key]

    def do(self, chunk: Chunk) -> pa.Table:
        """A chunk's records, in the order of seeds and policies."""
        setting = self.settings[chunk.setting]
        place = self.place(setting)
        coming = setting.coming(self.arrivals[setting.arrivals] if setting.arrivals else None)
        policies = self.policies[chunk.first_policy : chunk.last_policy + 1]
        seeds = range(chunk.first_seed, chunk.last_seed + 1)
        measured = []
        for seed in seeds:
            workload = draw_workload(
                place.future, requests=setting.requests, seed=seed, arrivals=coming,
                predictor=setting.predictor, mean_size_ns=place.share_ns,
            )  # fmt: skip
            runs = [simulate(workload, p, outlook=place.outlook, capacity=setting.capacity) for p in policies]
            measured.append(_measure(runs, workload, setting.batch, place))
        columns: dict[str, Any] = {
            "policy": [spec_of(p) for p in policies] * len(seeds),
            "policy_name": [spec_of(p).partition(":")[0] for p in policies] * len(seeds),
        }
        columns |= {n: [_parameter(p, n) for p in policies] * len(seeds) for n in self.parameter_names}
        count = len(policies) * len(seeds)
        columns |= {name: [getattr(setting, name)] * count for name in SETTINGS}
        columns["load"] = [coming.load] * count
        columns["seed"] = np.repeat(np.array(seeds), len(policies))
        columns |= {name: np.concatenate([m[name] for m in measured]) for name in METRICS}
        columns["trace_sha256"] = [self.trace_sha256[setting.trace]] * count
        columns["profile_sha256"] = [self.profile_sha256[setting.profile]] * count
        columns["lapsd"] = [version("lapsd")] * count
        return pa.Table.from_pydict(columns, schema=self.schema)

    @cached_property
    def parameter_names(self) -> list[str]:
        """Every parameter of any policy of the sweep, in order."""
        return list(dict.fromkeys(f.name for policy in self.policies for f in parameters_of(policy)))

    @cached_property
    def schema(self) -> pa.Schema:
        """The records' columns: policy, its parameters, settings, seed, metrics, provenance."""
        text = ("policy", "policy_name")
        kinds = {f.name: kind_of(f) for policy in self.policies for f in parameters_of(policy)}
        typed = [(name, pa.string()) for name in text]
        typed += [(name, _arrow_type(kinds[name])) for name in self.parameter_names]
        typed += [(name, _arrow_type(kind)) for name, kind in KINDS.items()]
        typed += [("seed", pa.int64())]
        typed += [(name, pa.int64() if name in ("preemptions", "rounds") else pa.float64()) for name in METRICS]
        typed += [(name, pa.string()) for name in ("trace_sha256", "profile_sha256", "lapsd")]
        return pa.schema(typed)


def _parameter(policy: Policy, name: str) -> Any:
    return getattr(policy, name) if name in {f.name for f in parameters_of(policy)} else None


def _arrow_type(kind: str) -> pa.DataType:
    """From an annotation such as `int | None`."""
    for word, found in (("bool", pa.bool_()), ("str", pa.string()), ("int", pa.int64())):
        if word in kind:
            return found
    return pa.float64()


def _measure(runs: Sequence[Run], workload: Workload, batch: int, place: Place) -> dict[str, np.ndarray[Any, Any]]:
    """The metrics of several policies' runs of one workload, (P,) each."""
    latency = np.array([r.latency_ns for r in runs])
    slowdown = latency / workload.size_ns
    p50, p90, p99 = np.percentile(latency, [50, 90, 99], axis=1) / 1e9
    switching = np.array([int(r.switch_ns.sum()) for r in runs])
    service = np.array([int(r.service_ns.sum()) for r in runs])
    mean = latency.mean(axis=1) / 1e9
    # with batches other schedules are feasible, and in a closed loop arrivals differ: no bound is claimed
    bounded = batch == 1 and workload.clients is None
    bound_s = float(bound_latency_ns(workload).mean()) / 1e9 if bounded else math.nan
    load = place.share_ns / place.future.mean_size_ns * workload.realised_load
    return {
        "mean_latency_s": mean,
        "p50_latency_s": p50,
        "p90_latency_s": p90,
        "p99_latency_s": p99,
        "max_latency_s": latency.max(axis=1) / 1e9,
        "mean_slowdown": slowdown.mean(axis=1),
        "max_slowdown": slowdown.max(axis=1),
        "preemptions": np.array([int(r.preemptions.sum()) for r in runs]),
        "switching_s": switching / 1e9,
        "switching_share": switching / (switching + service),
        "utilisation": np.array([1 - r.idle_ns / r.end_ns for r in runs]),
        "rounds": np.array([r.rounds for r in runs]),
        "bound_s": np.full(len(runs), bound_s),
        "ratio_to_bound": mean / bound_s,
        "realised_load": np.full(len(runs), load),
    }
