"""The servers of a service, and what its router knows before a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lapsd.policies import PolicyContext
from lapsd.policies.routers import Router
from lapsd.policies.routers.calls import bound_router
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.routing import Routing, refuse_many_reports
from lapsd.traces import Workload


@dataclass(frozen=True, eq=False)
class ServerSetup:
    """One of several servers.

    Parameters
    ----------
    workload : the workload of all servers, priced by the profile of this one.
    context : what the server knows beforehand.
    capacity : batch size and KV memory.
    """

    workload: Workload
    context: PolicyContext
    capacity: Capacity


def router_of(setups: Sequence[ServerSetup], routing: Routing) -> Router | None:
    """Return the router, bound for a run; None with one queue."""
    if routing.central:
        return None
    context = replace(setups[0].context.routing, servers=len(setups))
    made = bound_router(routing.router, context)
    refuse_many_reports(setups[0].workload, routing.report_ns(made))
    return made
