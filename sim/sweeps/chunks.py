"""Running a chunk of a sweep: its runs, a record each.

A chunk's records depend on the sweep, the traces and the profiles alone: not on who runs it, when, or beside whom.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from policies import Policy, parameters_of, spec_of
from sim.experiment.metrics import METRICS, measured
from sim.experiment.run import Runs, run
from sim.experiment.setting import KNOBS, Setting
from sim.experiment.stage import Inputs
from sim.sweeps.grid import Chunk, Sweep

ARROW = {bool: pa.bool_(), str: pa.string(), int: pa.int64(), float: pa.float64()}


@dataclass(eq=False)
class ChunkRunner:
    """A sweep with its inputs, as workers get it.

    Attributes
    ----------
    sha256 : mapping of "trace", "profile" and "arrivals" to that of each such file, by the name that settings give it
    """

    sweep: Sweep
    inputs: Inputs
    sha256: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

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

    def run(self, chunk: Chunk) -> pa.Table:
        """A chunk's records, in the order of seeds and policies."""
        setting = self.settings[chunk.setting]
        stage = self.inputs.stage(setting)
        policies = self.policies[chunk.first_policy : chunk.last_policy + 1]
        seeds = range(chunk.first_seed, chunk.last_seed + 1)
        found = [measured(Runs(stage, stage.workload(s), [run(stage, p, s) for p in policies])) for s in seeds]
        specs = [spec_of(policy) for policy in policies]
        of_policies = {"policy": specs, "policy_name": [spec.partition(":")[0] for spec in specs]}
        of_policies |= {name: [_parameter(policy, name) for policy in policies] for name in self.parameter_names}
        of_chunk = {name: getattr(setting, name) for name in KNOBS}
        of_chunk |= {f"{what}_sha256": self.sha256[what][getattr(setting, what)] for what in ("trace", "profile")}
        of_chunk["lapsd"] = version("lapsd")
        columns: dict[str, Any] = {name: values * len(seeds) for name, values in of_policies.items()}
        columns |= {name: [value] * (len(seeds) * len(policies)) for name, value in of_chunk.items()}
        columns["seed"] = np.repeat(np.array(seeds), len(policies))
        columns |= {name: np.concatenate([of_seed[name] for of_seed in found]) for name in found[0]}
        return pa.Table.from_pydict(columns, schema=self.schema)

    @cached_property
    def parameter_names(self) -> list[str]:
        """Every parameter of any policy of the sweep, in order."""
        return list(self._parameters)

    @cached_property
    def _parameters(self) -> dict[str, Field[Any]]:
        return {f.name: f for policy in self.policies for f in parameters_of(policy)}

    @cached_property
    def schema(self) -> pa.Schema:
        """The records' columns: policy, its parameters, setting, seed, metrics, provenance."""
        metrics = [metric for metric in METRICS if metric.recorded]
        return pa.schema([
            ("policy", pa.string()),
            ("policy_name", pa.string()),
            *((name, _arrow_type(parameter)) for name, parameter in self._parameters.items()),
            *((name, ARROW[knob.kind]) for name, knob in KNOBS.items()),
            ("seed", pa.int64()),
            *((metric.name, ARROW[int if metric.whole else float]) for metric in metrics),
            *((name, pa.string()) for name in ("trace_sha256", "profile_sha256", "lapsd")),
        ])  # fmt: skip


def _parameter(policy: Policy, name: str) -> Any:
    return getattr(policy, name) if name in {f.name for f in parameters_of(policy)} else None


def _arrow_type(parameter: Field[Any]) -> pa.DataType:
    """From an annotation such as `int | None`."""
    annotation = str(getattr(parameter.type, "__name__", parameter.type))
    return next((ARROW[kind] for kind in (bool, str, int) if kind.__name__ in annotation), pa.float64())
