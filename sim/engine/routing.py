"""How requests reach servers: the router, the age of what it knows, guardrails; or one queue."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.policies.calls import name_of
from lapsd.policies.routers import Router
from lapsd.policies.routers.calls import MOST_AGE_MS
from lapsd.policies.routers.random import Random
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.guardrails import MOST_G
from lapsd.sim.engine.memory import Memory, Offload
from lapsd.traces import Workload

ROUTER_STREAM = 9  # of a workload's random numbers for routers
MOST_SERVERS = 4_096
MOST_REPORTS = 10**8  # of each server in a run; a million takes the compiled loop about a second


@dataclass(frozen=True)
class Routing:
    """How requests reach servers.

    Parameters
    ----------
    router : chooses the server of each request when it arrives.
    central : whether requests that have not started wait in one queue instead, from which servers
        take them by the policy's rank; the router is not asked.
    signal_age_ms : time between two reports of a server to the router, in milliseconds; None: as
        the router says.
    guardrails : g of `guardrails`; None: none.
    load : the load of each server, which the ranks of guardrails depend on; None: unknown.

    Raises
    ------
    ValueError
        Naming the parameter, its value and the bound.
    """

    router: Router = field(default_factory=Random)
    central: bool = False
    signal_age_ms: float | None = None
    guardrails: float | None = None
    load: float | None = None

    def __post_init__(self) -> None:
        if self.signal_age_ms is not None and not 0 <= self.signal_age_ms <= MOST_AGE_MS:
            raise ValueError(
                f"signal_age_ms={self.signal_age_ms}: must be between 0 and {MOST_AGE_MS:g}"
            )
        if self.guardrails is not None and not 0 < self.guardrails <= MOST_G:
            raise ValueError(
                f"guardrails={self.guardrails}: must be above 0, and at most {MOST_G:g}"
            )
        if self.central and (self.guardrails is not None or self.signal_age_ms is not None):
            name = "guardrails" if self.guardrails is not None else "signal_age_ms"
            raise ValueError(f"{name}: does not apply to one queue, which has no router")

    def report_ns(self, router: Router) -> int:
        """Return the time between two reports, for a bound router; 0: it sees the present."""
        signal_age_ms = router.signal_age_ms if self.signal_age_ms is None else self.signal_age_ms
        return math.ceil(signal_age_ms * 1e6)

    def refuse_old_signals(self, workload: Workload) -> None:
        """Raise `ValueError` if the first report that may list a request would come after the last
        arrival.

        In a closed loop the last arrival is not known.
        """
        last_ns = int(workload.arrival_ns[-1])
        if (
            self.signal_age_ms is not None
            and workload.clients is None
            and math.ceil(self.signal_age_ms * 1e6) > last_ns
        ):
            raise ValueError(
                f"signal_age_ms={self.signal_age_ms:g}: must be at most {last_ns / 1e6:g}, when the"
                " last request arrives: else the router sees no report of a request"
            )


def refuse_many_reports(workload: Workload, report_ns: int) -> None:
    """Raise `ValueError` if each server would make more than `MOST_REPORTS` reports, by the last
    arrival, or, in a closed loop, by the think times of a client.

    Parameters
    ----------
    report_ns : time between two reports; 0: there are none.
    """
    least_ns = int(workload.arrival_ns[-1])
    if workload.clients is not None:
        least_ns = (-(-len(workload) // workload.clients) - 1) * workload.think_ns
    if report_ns and least_ns > MOST_REPORTS * report_ns:
        raise ValueError(
            f"signal_age_ms={report_ns / 1e6:g}: a run of at least {least_ns / 1e9:g} s has"
            f" {least_ns // report_ns:,} reports of each server: must be at most {MOST_REPORTS:,}"
        )


def random_numbers(workload: Workload, draws: int) -> NDArray[np.int64]:
    """Return the random numbers that a router may use for each request, (N, draws)."""
    rng = np.random.default_rng([workload.seed, ROUTER_STREAM])
    return rng.integers(2**62, size=(len(workload), draws))


def predicted_sizes_ns(workload: Workload, token_ns: int) -> NDArray[np.int64]:
    """Return the predicted time of each request when it runs alone, (N,)."""
    return np.asarray(
        workload.priced.prefill_ns[workload.rows] + token_ns * workload.predicted_tokens
    )


def refuse_one_queue(policy: Policy, memory: Memory, capacities: Sequence[Capacity]) -> None:
    """Raise `ValueError` for a policy or a memory manager that one queue of several servers does
    not have.
    """
    if type(policy).on_event is not Policy.on_event:
        raise ValueError(
            f"policy {name_of(policy)}: keeps a state of its server, and servers that take from"
            " one queue have none each"
        )
    if isinstance(memory, Offload):
        raise ValueError(
            f"memory {memory.name}: plans for the requests of its server; not with one queue"
        )
    if any(capacity != capacities[0] for capacity in capacities):
        raise ValueError("one queue: needs servers that are equal")
