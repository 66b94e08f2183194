"""One run of a policy, and the runs of several policies on one workload, with their metrics."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.sim.engine import Occupancy, Run, Timeline, simulate, simulate_many
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.traces import Workload

TOGETHER = 20_000  # requests that one call of the compiled loop serves


def run(
    prepared: PreparedScenario,
    policy: Policy,
    seed: int,
    timeline: Timeline | None = None,
    *,
    occupancy: Occupancy | None = None,
    engine: str = "auto",
) -> Run:
    """Serve the workload of a seed under a policy.

    Parameters
    ----------
    timeline, occupancy, engine : as in `lapsd.simulate`.

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
        timeline=timeline,
        occupancy=occupancy,
        engine=engine,
    )


def run_many(
    prepared: PreparedScenario,
    policies: Sequence[Policy],
    seeds: Sequence[int],
    *,
    engine: str = "auto",
) -> Iterator[Run]:
    """Serve the workload of each seed under each policy; yields runs by seed, then by policy.

    Runs are equal to those of `run`. The compiled loop does several of them in one call, which
    takes far less time where workloads are short; but at most `TOGETHER` requests, so that a call
    takes little memory and can soon be interrupted.

    Raises
    ------
    ValueError
        As `run`.
    """
    capacity, pairs = prepared.scenario.capacity, list(itertools.product(seeds, policies))
    together = max(1, TOGETHER // prepared.scenario.requests)
    for first in range(0, len(pairs), together):
        some = pairs[first : first + together]
        contexts = [
            prepared.ceiling if policy.clairvoyant else prepared.context for _, policy in some
        ]
        yield from simulate_many(
            [prepared.workload(seed) for seed, _ in some],
            [policy for _, policy in some],
            contexts,
            capacity,
            engine,
        )


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of P policies on one workload. Statistics count the C requests after the warm-up.

    Attributes
    ----------
    prepared : PreparedScenario
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
        """Latency over the time that the request takes on an idle server, (P, C)."""
        return self.latency_ns / self.workload.size_ns[self.prepared.scenario.warmup :]

    @cached_property
    def normalized_ns(self) -> NDArray[np.float64]:
        """Normalized latency, latency over output tokens, (P, C)."""
        output = self.workload.priced.trace.output_tokens[self.workload.rows]
        return self.latency_ns / output[self.prepared.scenario.warmup :]

    @cached_property
    def first_token_ns(self) -> NDArray[np.int64]:
        """Time from arrival to the end of the first round, (P, C)."""
        return self._counted("first_token_ns") - self._counted("arrival_ns")

    @cached_property
    def token_ns(self) -> NDArray[np.float64]:
        """Time from the first round to completion, per output token after that round, (P, C).

        It is 0 for requests that the first round completes.
        """
        trace, rows = (
            self.workload.priced.trace,
            self.workload.rows[self.prepared.scenario.warmup :],
        )
        left = trace.output_tokens[rows] - self.workload.priced.emitted[trace.offsets[rows]]
        return np.asarray((self.latency_ns - self.first_token_ns) / np.maximum(left, 1))

    @cached_property
    def slo_scale(self) -> NDArray[np.float64]:
        """The larger of time to the first token over `ttft_limit` and time per further token over
        `tpot_limit`, the scenario's limits, (P, C).
        """
        first_ns, token_ns = (
            1e9 * limit
            for limit in (self.prepared.scenario.ttft_limit, self.prepared.scenario.tpot_limit)
        )
        return np.maximum(self.first_token_ns / first_ns, self.token_ns / token_ns)

    @cached_property
    def switch_ns(self) -> NDArray[np.int64]:
        """Time of the KV transfers of each request, (P, C)."""
        return self._counted("switch_ns")

    @cached_property
    def service_ns(self) -> NDArray[np.int64]:
        """Time of prefill and rounds, (P, C)."""
        return self._counted("service_ns")

    @cached_property
    def preemptions(self) -> NDArray[np.int64]:
        """Number of preemptions of each request, (P, C)."""
        return self._counted("preemptions")

    def _counted(self, column: str) -> NDArray[np.int64]:
        warmup = self.prepared.scenario.warmup
        return np.array([getattr(run, column)[warmup:] for run in self.runs])
