"""One run of a policy, and the runs of several policies on one workload, with their metrics."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.sim.engine import Occupancy, Run, Timeline, simulate, simulate_many
from lapsd.sim.engine.service_simulation import simulate_service
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
    prepared : PreparedScenario
        The scenario, with its files loaded.
    policy : Policy
        The scheduling policy.
    seed : int
        Seed of the random numbers, at least 0.
    timeline, occupancy, engine : Timeline, Occupancy, str, optional
        As in `lapsd.simulate`.

    Raises
    ------
    ValueError
        If a request can never fit the memory, or ranks cannot be compared.

    Examples
    --------
    >>> import lapsd
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference", "reference", requests=20, load=0.9
    ... )
    >>> fcfs = lapsd.run(prepared, lapsd.parse_policy("fcfs"), seed=0)
    >>> srpt = lapsd.run(prepared, lapsd.parse_policy("srpt"), seed=0)
    >>> bool(srpt.latency_ns.mean() < fcfs.latency_ns.mean())
    True
    """
    if prepared.scenario.several:
        if timeline is not None or occupancy is not None:
            raise ValueError(
                f"servers={prepared.scenario.servers}: timelines (--timeline, --gantt) and"
                " occupancy are recorded of one server only"
            )
        setups = prepared.setups(prepared.workload(seed), clairvoyant=policy.clairvoyant)
        return simulate_service(setups, policy, prepared.scenario.routing, engine=engine)
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
    workloads: Sequence[Workload],
    *,
    engine: str = "auto",
) -> Iterator[Run]:
    """Serve each workload under each policy; yields runs by workload, then by policy.

    Runs are equal to those of `run`. The compiled loop does several of them in one call, which
    takes far less time where workloads are short; but at most `TOGETHER` requests, so that a call
    takes little memory and can soon be interrupted.

    Raises
    ------
    ValueError
        As `run`.
    """
    if prepared.scenario.several:
        yield from _run_services(prepared, policies, workloads, engine)
        return
    capacity, pairs = prepared.scenario.capacity, list(itertools.product(workloads, policies))
    together = max(1, TOGETHER // prepared.scenario.requests)
    for first in range(0, len(pairs), together):
        some = pairs[first : first + together]
        contexts = [
            prepared.ceiling if policy.clairvoyant else prepared.context for _, policy in some
        ]
        yield from simulate_many(
            [workload for workload, _ in some],
            [policy for _, policy in some],
            contexts,
            capacity,
            engine,
        )


def _run_services(
    prepared: PreparedScenario,
    policies: Sequence[Policy],
    workloads: Sequence[Workload],
    engine: str,
) -> Iterator[Run]:
    """Serve each workload under each policy on several servers."""
    for workload in workloads:
        setups = {
            clairvoyant: prepared.setups(workload, clairvoyant=clairvoyant)
            for clairvoyant in {policy.clairvoyant for policy in policies}
        }
        for policy in policies:
            yield simulate_service(
                setups[policy.clairvoyant], policy, prepared.scenario.routing, engine=engine
            )


@dataclass(frozen=True, eq=False)
class Runs:
    """R runs: of some policies on the first workload, of the same policies on the second, ...

    Statistics count the C requests after the warm-up.

    Attributes
    ----------
    prepared : PreparedScenario
    workloads : sequence of Workload
    runs : sequence of Run, (R,)

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.experiment import Runs
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference", "reference", requests=20, load=0.9
    ... )
    >>> done = lapsd.run(prepared, lapsd.parse_policy("fcfs"), seed=0)
    >>> runs = Runs(prepared, [prepared.workload(0)], [done])
    >>> runs.slowdown.shape, bool((runs.slowdown >= 1).all())
    ((1, 20), True)
    """

    prepared: PreparedScenario
    workloads: Sequence[Workload]
    runs: Sequence[Run]

    def of_workloads(self, quantity: Callable[[Workload], Any]) -> NDArray[Any]:
        """Return a quantity of the workload of each run, (R, ...)."""
        policies = len(self.runs) // len(self.workloads)
        return np.repeat([quantity(workload) for workload in self.workloads], policies, axis=0)

    @cached_property
    def latency_ns(self) -> NDArray[np.int64]:
        """Finish minus arrival, (R, C)."""
        return self._counted("latency_ns")

    @cached_property
    def slowdown(self) -> NDArray[np.float64]:
        """Latency over the time that the request takes on an idle server, (R, C)."""
        return self.latency_ns / self.workloads[0].priced.size_ns[self._rows]

    @cached_property
    def normalized_ns(self) -> NDArray[np.float64]:
        """Normalized latency, latency over output tokens, (R, C)."""
        return self.latency_ns / self.workloads[0].priced.trace.output_tokens[self._rows]

    @cached_property
    def first_token_ns(self) -> NDArray[np.int64]:
        """Time from arrival to the end of the first round, (R, C)."""
        return self._counted("first_token_ns") - self._counted("arrival_ns")

    @cached_property
    def token_ns(self) -> NDArray[np.float64]:
        """Time from the first round to completion, per output token after that round, (R, C).

        It is 0 for requests that the first round completes.
        """
        output = self.workloads[0].priced.trace.output_tokens[self._rows]
        left = np.maximum(output - self._counted("first_tokens"), 1)
        return np.asarray((self.latency_ns - self.first_token_ns) / left)

    @cached_property
    def slo_scale(self) -> NDArray[np.float64]:
        """The larger of time to the first token over `ttft_limit` and time per further token over
        `tpot_limit`, the scenario's limits, (R, C).
        """
        first_ns, token_ns = (
            1e9 * limit
            for limit in (self.prepared.scenario.ttft_limit, self.prepared.scenario.tpot_limit)
        )
        return np.maximum(self.first_token_ns / first_ns, self.token_ns / token_ns)

    @cached_property
    def switch_ns(self) -> NDArray[np.int64]:
        """Time of the KV transfers of each request, (R, C)."""
        return self._counted("switch_ns")

    @cached_property
    def service_ns(self) -> NDArray[np.int64]:
        """Time of prefill and rounds, (R, C)."""
        return self._counted("service_ns")

    @cached_property
    def preemptions(self) -> NDArray[np.int64]:
        """Number of preemptions of each request, (R, C)."""
        return self._counted("preemptions")

    @cached_property
    def drafted(self) -> NDArray[np.int64]:
        """Draft tokens of each request, (R, C)."""
        return self._counted("drafted")

    @cached_property
    def accepted(self) -> NDArray[np.int64]:
        """Accepted draft tokens of each request, (R, C)."""
        return self._counted("accepted")

    @cached_property
    def prompt_tokens(self) -> NDArray[np.int64]:
        """Tokens of each request's prompt, (R, C)."""
        return self.workloads[0].priced.trace.prompt_tokens[self._rows]

    @cached_property
    def cached_tokens(self) -> NDArray[np.int64]:
        """Tokens of each request's prompt that were cached when it started, (R, C)."""
        return self._counted("cached_tokens")

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """Row of each request in the priced trace, (R, C)."""
        return self.of_workloads(lambda w: w.rows[self.prepared.scenario.warmup :])

    def _counted(self, column: str) -> NDArray[np.int64]:
        warmup = self.prepared.scenario.warmup
        return np.array([getattr(run, column)[warmup:] for run in self.runs])
