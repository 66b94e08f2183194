"""One run, and the runs of several policies on the same workload, as they are measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from policies import Policy
from sim.engine import Occupancy, Run, Timeline, simulate
from sim.experiment.stage import Stage
from traces import Workload


def run(
    stage: Stage, policy: Policy, seed: int, timeline: Timeline | None = None, *, skip: bool = True,
    occupancy: Occupancy | None = None,
) -> Run:  # fmt: skip
    """Serve a seed's workload under a policy; `timeline`, `skip` and `occupancy` are `sim.engine.simulate`'s.

    Raises
    ------
    ValueError
        If a request can never fit the memory, or ranks cannot be compared.
    """
    capacity = stage.setting.capacity
    outlook = stage.ceiling if policy.clairvoyant else stage.outlook
    return simulate(
        stage.workload(seed), policy, outlook=outlook, capacity=capacity, skip=skip, timeline=timeline,
        occupancy=occupancy,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Runs:
    """What P policies did with one workload. Statistics are of the C requests after the warm-up.

    Attributes
    ----------
    stage : Stage
    workload : Workload
    runs : sequence of Run, (P,)
    """

    stage: Stage
    workload: Workload
    runs: Sequence[Run]

    @cached_property
    def latency_ns(self) -> NDArray[np.int64]:
        """Finish minus arrival, (P, C)."""
        return self._counted("latency_ns")

    @cached_property
    def slowdown(self) -> NDArray[np.float64]:
        """Latency over the time that the request takes alone, (P, C)."""
        return self.latency_ns / self.workload.size_ns[self.stage.setting.warmup :]

    @cached_property
    def normalised_ns(self) -> NDArray[np.float64]:
        """Latency over output tokens, (P, C)."""
        output = self.workload.priced.trace.output_tokens[self.workload.rows]
        return self.latency_ns / output[self.stage.setting.warmup :]

    @cached_property
    def switch_ns(self) -> NDArray[np.int64]:
        """Moves of each request's cache, (P, C)."""
        return self._counted("switch_ns")

    @cached_property
    def service_ns(self) -> NDArray[np.int64]:
        """Prefill and rounds, (P, C)."""
        return self._counted("service_ns")

    @cached_property
    def preemptions(self) -> NDArray[np.int64]:
        """How often each request left the running set unfinished, (P, C)."""
        return self._counted("preemptions")

    def _counted(self, column: str) -> NDArray[np.int64]:
        warmup = self.stage.setting.warmup
        return np.array([getattr(run, column)[warmup:] for run in self.runs])
