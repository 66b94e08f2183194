"""One run, and the runs of several policies on the same workload, as they are measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.sim.engine import Occupancy, Run, Timeline, simulate
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.traces import Workload

SLO_S = (
    1.55,
    0.15,
)  # FastServe's first constraint of the two; its others are twice and four times as much


def run(
    prepared: PreparedScenario,
    policy: Policy,
    seed: int,
    timeline: Timeline | None = None,
    *,
    skip: bool = True,
    occupancy: Occupancy | None = None,
) -> Run:
    """Serve a seed's workload under a policy; `timeline`, `skip` and `occupancy` are
    `lapsd.sim.engine.simulation`'s.

    Raises
    ------
    ValueError
        If a request can never fit the memory, or ranks cannot be compared.
    """
    capacity = prepared.scenario.capacity
    context = prepared.ceiling if policy.clairvoyant else prepared.context
    return simulate(
        prepared.workload(seed),
        policy,
        context=context,
        capacity=capacity,
        skip=skip,
        timeline=timeline,
        occupancy=occupancy,
    )


@dataclass(frozen=True, eq=False)
class Runs:
    """What P policies did with one workload. Statistics are of the C requests after the warm-up.

    Attributes
    ----------
    prepared : Stage
    workload : Workload
    runs : sequence of Run, (P,)
    """

    prepared: PreparedScenario
    workload: Workload
    runs: Sequence[Run]

    @cached_property
    def latency_ns(self) -> NDArray[np.int64]:
        """Finish minus arrival, (P, C)."""
        return self._counted("latency_ns")

    @cached_property
    def slowdown(self) -> NDArray[np.float64]:
        """Latency over the time that the request takes alone, (P, C)."""
        return self.latency_ns / self.workload.size_ns[self.prepared.scenario.warmup :]

    @cached_property
    def normalized_ns(self) -> NDArray[np.float64]:
        """Latency over output tokens, (P, C)."""
        output = self.workload.priced.trace.output_tokens[self.workload.rows]
        return self.latency_ns / output[self.prepared.scenario.warmup :]

    @cached_property
    def first_token_ns(self) -> NDArray[np.int64]:
        """From arrival to the end of the first round, (P, C)."""
        return self._counted("first_token_ns") - self._counted("arrival_ns")

    @cached_property
    def token_ns(self) -> NDArray[np.float64]:
        """From then to the end, over the output tokens that are left then; 0 if there are none, (P,
        C).
        """
        trace, rows = (
            self.workload.priced.trace,
            self.workload.rows[self.prepared.scenario.warmup :],
        )
        left = trace.output_tokens[rows] - self.workload.priced.emitted[trace.offsets[rows]]
        return np.asarray((self.latency_ns - self.first_token_ns) / np.maximum(left, 1))

    @cached_property
    def slo_scale(self) -> NDArray[np.float64]:
        """The larger of time to the first token over `SLO_S[0]` and time a further one over
        `SLO_S[1]`, (P, C).
        """
        first_s, token_s = SLO_S
        return np.maximum(self.first_token_ns / (first_s * 1e9), self.token_ns / (token_s * 1e9))

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
        warmup = self.prepared.scenario.warmup
        return np.array([getattr(run, column)[warmup:] for run in self.runs])
