"""The servers of a service, and what its router knows before a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lapsd.policies import PolicyContext
from lapsd.policies.routers import Router
from lapsd.policies.routers.calls import bound_router
from lapsd.policies.routers.simulate import MOST_MORE
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.routing import Routing, refuse_many_reports
from lapsd.traces import Workload
from lapsd.traces.bounds import check_ns


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
    kinds = {id(setup): setup for setup in setups}
    rows = {kind: batch_token_ns(setup) for kind, setup in kinds.items()}
    context = replace(
        setups[0].context.routing,
        servers=len(setups),
        batch_token_ns=tuple(rows[id(setup)] for setup in setups),
    )
    made = bound_router(routing.router, context)
    refuse_many_reports(setups[0].workload, routing.report_ns(made))
    return made


def batch_token_ns(setup: ServerSetup) -> tuple[int, ...]:
    """Return the predicted time between output tokens of a request in a batch of 1, 2, ..., b.

    Where the context does not give it, it is proportional to the batch.

    Raises
    ------
    ValueError
        If the longest predicted request may take more than `MOST_NS`.
    """
    known, token_ns = setup.context.routing.batch_token_ns, setup.context.routing.token_ns
    row = [ns for of_server in known[:1] for ns in of_server][: setup.capacity.batch]
    row += [token_ns * b for b in range(len(row) + 1, setup.capacity.batch + 1)]
    tokens = max(MOST_MORE, int(setup.workload.predicted_tokens.max()))
    check_ns(max(row) * tokens, f"a request of up to {tokens} predicted tokens")
    return tuple(row)
