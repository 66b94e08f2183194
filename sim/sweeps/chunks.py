"""Running a chunk of a sweep: its runs, a record each.

A chunk's records depend on the sweep, the traces and the profiles alone: not on who runs it, when,
or beside whom.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from lapsd.policies import Policy, parameters_of, spec_of
from lapsd.sim.experiment.metrics import record_metrics, recorded
from lapsd.sim.experiment.prepared_scenario import Inputs
from lapsd.sim.experiment.runs import Runs, run
from lapsd.sim.experiment.scenario import SCENARIO_FIELDS, Scenario
from lapsd.sim.sweeps.grid import Chunk, Sweep

ARROW = {bool: pa.bool_(), str: pa.string(), int: pa.int64(), float: pa.float64()}


@dataclass(eq=False)
class ChunkRunner:
    """A sweep with its inputs, as workers get it.

    Attributes
    ----------
    sha256 : mapping of "trace", "profile" and "arrivals" to that of each such file, by the name
    that settings give it
    """

    sweep: Sweep
    inputs: Inputs
    sha256: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {
            f.name: getattr(self, f.name) for f in fields(self)
        }  # the rest is made again by whoever gets it

    @cached_property
    def policies(self) -> list[Policy]:
        """The sweep's, in order."""
        return self.sweep.configurations()

    @cached_property
    def settings(self) -> list[Scenario]:
        """The sweep's, in order."""
        return self.sweep.combinations()

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The sweep's, in order."""
        return self.sweep.chunks()

    def run(self, chunk: Chunk) -> pa.Table:
        """A chunk's records, in the order of seeds and policies."""
        scenario = self.settings[chunk.scenario]
        prepared = self.inputs.prepared(scenario)
        some = slice(chunk.first_policy, chunk.last_policy + 1)
        policies, seeds = self.policies[some], range(chunk.first_seed, chunk.last_seed + 1)
        by_seed = [
            record_metrics(
                Runs(prepared, prepared.workload(s), [run(prepared, p, s) for p in policies])
            )
            for s in seeds
        ]
        of_chunk = {name: getattr(scenario, name) for name in SCENARIO_FIELDS}
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
        columns |= {
            name: np.concatenate([of_seed[name] for of_seed in by_seed]) for name in by_seed[0]
        }
        return pa.Table.from_pydict(columns, schema=self.schema)

    @cached_property
    def _parameters(self) -> dict[str, Field[Any]]:
        """Every parameter of any policy of the sweep, in order."""
        return {f.name: f for policy in self.policies for f in parameters_of(policy)}

    @cached_property
    def _policy_columns(self) -> dict[str, list[Any]]:
        """What records say of each policy: its spec, its name, and its parameters, None where it
        lacks one.
        """
        specs = [spec_of(policy) for policy in self.policies]
        has = [{f.name for f in parameters_of(policy)} for policy in self.policies]
        return {
            "policy": specs,
            "policy_name": [spec.partition(":")[0] for spec in specs],
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
        """The records' columns: policy, its parameters, setting, seed, metrics, provenance."""
        return pa.schema(
            [
                ("policy", pa.string()),
                ("policy_name", pa.string()),
                *((name, _arrow_type(parameter)) for name, parameter in self._parameters.items()),
                *(
                    (name, ARROW[scenario_field.kind])
                    for name, scenario_field in SCENARIO_FIELDS.items()
                ),
                ("seed", pa.int64()),
                *((metric.name, ARROW[int if metric.whole else float]) for metric in recorded()),
                *((name, pa.string()) for name in ("trace_sha256", "profile_sha256", "lapsd")),
            ]
        )


def _arrow_type(parameter: Field[Any]) -> pa.DataType:
    """From an annotation such as `int | None`."""
    annotation = str(getattr(parameter.type, "__name__", parameter.type))
    return next(
        (ARROW[kind] for kind in (bool, str, int) if kind.__name__ in annotation), pa.float64()
    )
