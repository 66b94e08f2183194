"""Run a chunk of a sweep: one record per run.

The records depend on the sweep, the traces and the profiles only. They do not depend on the worker,
the time, or other chunks.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from lapsd.policies import Policy, parameters_of, spec_of
from lapsd.policies.own import Source, receive, sources_of
from lapsd.policies.source import own_sources
from lapsd.policies.spec import split_spec
from lapsd.sim.engine import check_engine
from lapsd.sim.experiment.metrics import Values, record_metrics, recorded
from lapsd.sim.experiment.no_effect import refuse_without_effect
from lapsd.sim.experiment.prepared_scenario import Inputs, PreparedScenario
from lapsd.sim.experiment.runs import TOGETHER, Runs, run_many
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS, Scenario
from lapsd.sim.sweeps.grid import Chunk, Sweep
from lapsd.sim.sweeps.values import kind_of
from lapsd.traces.files import file_sha256, profile_sha256, trace_sha256

RECORDED = "recorded"  # draft lengths of a policy without a draft policy
ARROW = {bool: pa.bool_(), str: pa.string(), int: pa.int64(), float: pa.float64()}


@dataclass(eq=False)
class ChunkRunner:
    """A sweep with its inputs, as workers receive it.

    Attributes
    ----------
    files : paths by the names that the sweep gives to traces and profiles; any other name in the
        sweep is a path itself.
    sha256 : for "trace", "profile" and "arrivals": the SHA-256 of each such file, by the name that
        scenarios give it; for "policy": that of the source of each own policy, by class.
    engine : the program that runs, as in `lapsd.simulate`; records do not depend on it.
    expected : in another process, the `inputs_digest` of the runner that this one was made from.
    sources : the user's own modules that the policies come from, which another process receives.
    """

    sweep: Sweep
    inputs: Inputs
    files: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    engine: str = "auto"
    expected: str | None = None
    sources: tuple[Source, ...] = ()

    @classmethod
    def load(
        cls,
        sweep: Sweep,
        files: Mapping[str, str] | None = None,
        engine: str = "auto",
        expected: str | None = None,
        sources: tuple[Source, ...] = (),
    ) -> "ChunkRunner":
        """Load the inputs of a sweep and check all of it, before anything runs.

        Raises
        ------
        ValueError
            Naming the value and the bound.
        """
        check_engine(engine)
        receive(sources)
        files = files or {}
        inputs = Inputs.load(sweep.combinations(), files)
        loaded = (
            ("trace", inputs.traces, trace_sha256),
            ("profile", inputs.profiles, profile_sha256),
            ("arrivals", inputs.arrivals, file_sha256),
        )
        hashes = {
            what: {name: sha256(files.get(name, name)) for name in names}
            for what, names, sha256 in loaded
        }
        runner = cls(sweep, inputs, files, hashes, engine, expected)
        runner.sources = sources_of(runner.policies)
        hashes["policy"] = own_sources(runner.policies)
        _ = runner.schema
        return runner

    def refuse_without_effect(self) -> None:
        """Refuse a setting that has no effect in any scenario of the sweep.

        Raises
        ------
        ValueError
            Naming the setting, a value, and why it has none.
        """
        refuse_without_effect(map(self.inputs.prepared, self.scenarios), self.policies)

    @property
    def recipe(self) -> tuple[Callable[..., "ChunkRunner"], tuple[Any, ...]]:
        """A function and its arguments that make the runner again in another process.

        They are far smaller than the runner, which holds whole traces.
        """
        inputs = self.inputs_digest, self.sources
        return ChunkRunner.load, (self.sweep, self.files, self.engine, *inputs)

    @property
    def inputs_digest(self) -> str:
        """A digest of all inputs."""
        return hashlib.sha256(json.dumps(self.sha256, sort_keys=True).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        # each worker computes the cached properties itself
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def policies(self) -> list[Policy]:
        """The sweep's policies, in order."""
        receive(self.sources)
        return self.sweep.configurations()

    @cached_property
    def scenarios(self) -> list[Scenario]:
        """The sweep's scenarios, in order."""
        return self.sweep.combinations()

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The sweep's chunks, in order."""
        return self.sweep.chunks()

    def run(self, chunk: Chunk) -> pa.Table:
        """Run a chunk and return its records, ordered by seed and policy.

        Raises
        ------
        ValueError
            If an input has changed since the sweep was loaded.
        """
        if self.expected not in (None, self.inputs_digest):
            raise ValueError("a trace, profile or policy changed while the sweep ran")
        scenario = self.scenarios[chunk.scenario]
        prepared = self._prepared(chunk.scenario)
        some = slice(chunk.first_policy, chunk.last_policy + 1)
        policies, seeds = self.policies[some], range(chunk.first_seed, chunk.last_seed + 1)
        measured = list(self._measured(prepared, policies, seeds))
        of_chunk = {
            name: scenario_field.recorded(getattr(prepared.scenario, name))
            for name, scenario_field in SCENARIO_FIELDS.items()
        }
        of_chunk |= {
            f"{what}_sha256": self.sha256[what][getattr(scenario, what)]
            for what in ("trace", "profile")
        }
        of_chunk["lapsd"] = version("lapsd")
        columns: dict[str, Any] = {
            name: values[some] * len(seeds) for name, values in self._policy_columns.items()
        }
        columns |= {
            name: [value] * (len(seeds) * len(policies)) for name, value in of_chunk.items()
        }
        columns["seed"] = np.repeat(np.array(seeds), len(policies))
        columns |= {name: np.concatenate([part[name] for part in measured]) for name in measured[0]}
        return pa.Table.from_pydict(columns, schema=self.schema)

    def _measured(
        self, prepared: PreparedScenario, policies: list[Policy], seeds: range
    ) -> Iterator[dict[str, Values]]:
        """Run policies on the workloads of seeds; yield the metrics of the runs of some seeds."""
        together = max(1, TOGETHER // (prepared.scenario.requests * len(policies)))
        for first in range(0, len(seeds), together):
            workloads = [prepared.workload(seed) for seed in seeds[first : first + together]]
            runs = run_many(prepared, policies, workloads, engine=self.engine)
            yield record_metrics(Runs(prepared, workloads, list(runs)))

    def _prepared(self, scenario: int) -> PreparedScenario:
        """Return a prepared scenario; the latest one is kept, as its chunks follow each other."""
        latest = self.__dict__.get("_latest")
        if latest is None or latest[0] != scenario:
            latest = scenario, self.inputs.prepared(self.scenarios[scenario])
            self.__dict__["_latest"] = latest
        prepared: PreparedScenario = latest[1]
        return prepared

    @cached_property
    def _parameters(self) -> dict[str, type]:
        """The types of the parameters of all policies of the sweep, in order."""
        kinds: dict[str, set[type]] = {}
        for policy in self.policies:
            for parameter in parameters_of(policy):
                kinds.setdefault(parameter.name, set()).add(kind_of(parameter))
        for name, several in kinds.items():
            if len(several) > 1 and several != {int, float}:
                types = " and ".join(sorted(kind.__name__ for kind in several))
                raise ValueError(f"parameter {name!r}: is of the types {types} in these policies")
        return {
            name: float if float in several else min(several, key=str)
            for name, several in kinds.items()
        }

    @cached_property
    def _policy_columns(self) -> dict[str, list[Any]]:
        """The columns of records that describe policies: spec, name, draft policy and parameters,
        one entry per policy; None where the policy has no such parameter.
        """
        specs = [spec_of(policy) for policy in self.policies]
        has = [{f.name for f in parameters_of(policy)} for policy in self.policies]
        return {
            "policy": specs,
            "policy_name": [type(policy).name for policy in self.policies],
            "draft_policy": [split_spec(spec)[1] or RECORDED for spec in specs],
            **{
                name: [
                    getattr(p, name) if name in own else None
                    for p, own in zip(self.policies, has, strict=True)
                ]
                for name in self._parameters
            },
        }

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of records: policy, its parameters, scenario, seed, metrics, provenance."""
        schema = pa.schema(
            [
                ("policy", pa.string()),
                ("policy_name", pa.string()),
                ("draft_policy", pa.string()),
                *((name, ARROW[kind]) for name, kind in self._parameters.items()),
                *(
                    (name, ARROW[scenario_field.column_kind])
                    for name, scenario_field in SCENARIO_FIELDS.items()
                ),
                ("seed", pa.int64()),
                *((metric.name, ARROW[int if metric.whole else float]) for metric in recorded()),
                *((name, pa.string()) for name in ("trace_sha256", "profile_sha256", "lapsd")),
            ]
        )
        if twice := [name for name in self._parameters if schema.names.count(name) > 1]:
            raise ValueError(f"parameter {twice[0]!r}: is the name of another column of records")
        return schema
