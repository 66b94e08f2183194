"""Run a workload on several servers: which program serves it, and what policy and router know."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import simpy

from lapsd.policies import Policy
from lapsd.policies.calls import bound, name_of
from lapsd.sim.engine.drafting import Drafter, positions_of, refuse_truth
from lapsd.sim.engine.guardrails import Guardrails, edges_of, growth
from lapsd.sim.engine.longest_run import refuse_large_estimates, refuse_long_runs
from lapsd.sim.engine.recorded import recorded_rows, with_truth
from lapsd.sim.engine.routing import (
    MOST_SERVERS,
    Routing,
    predicted_sizes_ns,
    random_numbers,
    refuse_one_queue,
)
from lapsd.sim.engine.run_record import Run, RunRecord, run_of
from lapsd.sim.engine.service import RoutedServer, Service
from lapsd.sim.engine.service_setup import ServerSetup, router_of
from lapsd.sim.engine.simulation import SLOWER, SlowEngine, check_engine, refuse_batch_prices


def simulate_service(
    setups: Sequence[ServerSetup],
    policy: Policy,
    routing: Routing,
    *,
    engine: str = "auto",
    check: bool = False,
) -> Run:
    """Serve a workload on several servers under a policy, from empty servers until the last request
    is done.

    Parameters
    ----------
    setups : the servers; equal ones may be one object.
    routing : how requests reach servers.
    engine, check : as in `simulate`.

    Raises
    ------
    ValueError
        As `simulate`; or if the router fails, or one queue is asked for where it cannot be.
    """
    check_engine(engine)
    if not 1 <= len(setups) <= MOST_SERVERS:
        raise ValueError(f"servers={len(setups)}: must be between 1 and {MOST_SERVERS}")
    if engine == "compiled" and check:
        raise ValueError("engine=compiled: has no checks")
    refuse_what_cannot_be(setups, policy, routing)
    if engine == "simpy" or check:
        return _by_simpy(setups, policy, routing, check)
    from lapsd.sim.engine.compiled.policy import NotCompilable  # imports Numba, and so does `runs`
    from lapsd.sim.engine.compiled.service_runs import serve_service

    try:
        return serve_service(setups, policy, routing)
    except NotCompilable as why:
        if engine == "compiled":
            raise
        run = _by_simpy(setups, policy, routing, check)
        slow = f"{why}: runs in SimPy, about {SLOWER} times slower"
        warnings.warn(slow, SlowEngine, stacklevel=2)
        return run


def refuse_what_cannot_be(setups: Sequence[ServerSetup], policy: Policy, routing: Routing) -> None:
    """Raise `ValueError` if the policy cannot be had with these servers and this routing."""
    for setup in setups:
        refuse_batch_prices(setup.workload)
    routing.refuse_old_signals(setups[0].workload)
    if routing.central:
        first = setups[0]
        memory = first.capacity.memory_for(first.workload.priced)
        refuse_one_queue(policy, memory, [setup.capacity for setup in setups])
        if any(setup.workload is not first.workload for setup in setups):
            raise ValueError("one queue: needs servers that are equal")
    if routing.router.clairvoyant and policy.drafts is not None and not routing.central:
        raise ValueError(
            f"router {name_of(routing.router)}: knows the true remaining time of recorded rounds"
            " only; not with a draft policy"
        )
    if policy.drafts is not None:
        refuse_truth(policy)


def _by_simpy(setups: Sequence[ServerSetup], policy: Policy, routing: Routing, check: bool) -> Run:
    """Serve a workload by the specification."""
    env, workload, router = simpy.Environment(), setups[0].workload, router_of(setups, routing)
    sizes = {
        id(setup): predicted_sizes_ns(setup.workload, setup.context.routing.token_ns)
        for setup in setups
    }
    guardrails = None
    if routing.guardrails is not None:
        first = sizes[id(setups[0])]
        edges = edges_of(int(first.min()), int(first.max()), growth(routing.load))
        guardrails = Guardrails(edges, routing.guardrails, len(setups))
    draws = 0 if router is None else router.draws
    report_ns = 0 if router is None else routing.report_ns(router)
    service = Service(env, workload, router, random_numbers(workload, draws), report_ns, guardrails)
    for number, setup in enumerate(setups):
        sizes_ns = sizes[id(setup)].tolist()
        service.servers.append(_server(service, setup, policy, number, sizes_ns, check))
    env.run(service.serve())
    service.close()
    arrived = np.array([r.arrival_ns for r in service.requests], dtype=np.int64)
    servers = service.servers
    run = run_of([s.run_record for s in servers], arrived, int(env.now), servers[0].policy)
    return replace(
        run,
        server=np.array(service.server, dtype=np.int64),
        idle_by_server_ns=tuple(s.run_record.idle_ns for s in servers),
    )


def _server(
    service: Service,
    setup: ServerSetup,
    policy: Policy,
    number: int,
    sizes_ns: list[int],
    check: bool,
) -> RoutedServer:
    """Return one of the servers."""
    workload, capacity, context = setup.workload, setup.capacity, setup.context
    recorded, drafter = recorded_rows(workload), None
    if policy.drafts is not None:
        drafter = Drafter.of(workload, policy.drafts, context.drafts, capacity.drafting)
        recorded = positions_of(workload.priced, workload.rows.tolist(), policy.drafts)
    memory = capacity.memory_for(workload.priced)
    memory.refuse(recorded)
    capacity.refuse(recorded)
    refuse_long_runs([workload], capacity, memory, policy.drafts)
    if service.central and number:
        own = service.servers[0].policy  # which has seen the requests of the queue
    else:
        own = bound(policy, with_truth(context, recorded) if policy.clairvoyant else context)
    refuse_large_estimates([own], [workload], capacity)
    return RoutedServer(
        service.env,
        workload,
        recorded,
        own,
        capacity,
        memory,
        RunRecord(len(workload)),
        check,
        drafter=drafter,
        service=service,
        number=number,
        token_ns=context.routing.token_ns,
        sizes_ns=sizes_ns,
    )
