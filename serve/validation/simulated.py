"""The simulator's server for a live run's plan: its requests, arrivals, predictions, policy, batch and memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import simpy

from serve.plan import Plan
from serve.record import Record
from serve.validation.recorded import trace_of
from sim.engine import Capacity, Run
from sim.engine.recorded import Recorded, recorded_rows, with_truth
from sim.engine.request import Request
from sim.engine.run_record import RunRecord
from sim.engine.servers.step import StepServer
from traces import PricedTrace, Profile, Workload, price

Took = Callable[[int, Sequence[Request]], int]  # what a round takes, from an instant on, of who runs
Order = list[tuple[int, int]]  # (request, its round), in the order that they ran


def server_of(plan: Plan, priced: PricedTrace, took: Took) -> StepServer:
    """The specification's server, before its first decision.

    Parameters
    ----------
    priced : a row a request of the plan, in its order.
    took : what rounds take.
    """
    terms = priced.profile.costs.rounds  # a batch that nobody timed is priced by `took` alone
    costs = replace(priced.profile.costs, rounds={plan.batch: terms[max(terms)], **terms})
    priced = replace(priced, profile=replace(priced.profile, costs=costs))
    told = np.array([(r.arrival_ns, r.predicted_tokens) for r in plan.requests], dtype=np.int64)
    workload = Workload(priced, np.arange(len(plan.requests)), told[:, 0], told[:, 1])
    capacity = Capacity(plan.batch, plan.kv_slots, plan.kv_tokens, plan.evict)
    return StepServer(
        simpy.Environment(), workload, recorded_rows(workload), plan.bound_policy(), capacity, capacity.memory(costs),
        RunRecord(len(workload)), measured=took,
    )  # fmt: skip


def run_of(server: StepServer) -> Run:
    """Serve to the end."""
    server.env.run(server.env.process(server.serve()))
    return server.run_record.run(server.workload.arrival_ns, int(server.env.now), server.policy)


def foretell(plan: Plan, record: Record, profile: Profile) -> tuple[Run, Order]:
    """What the simulator says of a plan from costs, and from the acceptance of its live run; and who ran when.

    Raises
    ------
    ValueError
        If the live run was interrupted, or the profile does not cover it.
    """
    order: Order = []
    cost = {b: profile.round_cost(b) for b in range(1, plan.batch + 1)}

    def took(now_ns: int, running: Sequence[Request]) -> int:
        order.extend(sorted((r.index, r.rounds) for r in running))
        return cost[len(running)](max(r.next_drafted for r in running), sum(r.kv_tokens for r in running))

    return run_of(server_of(plan, price(trace_of(plan, record), profile), took)), order


def live_order(record: Record) -> Order:
    """Who ran when, in truth."""
    rounds: dict[int, int] = {}
    order: Order = []
    for step in record.steps:
        for index in sorted(step.running):
            order.append((index, rounds.get(index, 0)))
            rounds[index] = rounds.get(index, 0) + 1
    return order


def told_the_truth(plan: Plan, seen: Record, profile: Profile) -> Plan:
    """The plan with what clairvoyant policies know: what its requests did in a run, at a profile's costs."""
    priced = price(trace_of(plan, seen), profile)
    return replace(plan, outlook=with_truth(plan.outlook, [Recorded(priced, i) for i in range(len(plan.requests))]))
