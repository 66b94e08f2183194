"""Simulation of a live run: the same requests, arrivals, predictions, policy, batch and memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import simpy

from lapsd.serve.own.drafts import drafter_of
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.validation.recorded import trace_of
from lapsd.sim.engine import Capacity, Run
from lapsd.sim.engine.drafting import positions_of
from lapsd.sim.engine.recorded import Recorded, recorded_rows, with_truth
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.run_record import RunRecord
from lapsd.sim.engine.server import SimPyServer
from lapsd.traces import PricedTrace, Profile, Trace, Workload, price

# time of a step in ns, from its start and its running requests; None: the time that costs predict
StepTime = Callable[[int, Sequence[Request]], int | None]
Order = list[tuple[int, int]]  # (request, its round) in the order of execution


def capacity_of(plan: Plan, record: Record) -> Capacity:
    """Return the simulator's capacity for the engine of a live run.

    vLLM computes prompts in chunks that share steps with rounds. A preempted request keeps its
    blocks; if the plan evicts by recompute, it frees them.
    """
    if record.engine != "vllm":
        return Capacity(plan.batch, plan.kv_slots, plan.kv_tokens, plan.evict)
    notes = record.notes
    how: dict[str, Any] = {
        "evict": "recompute",
        "prefill": "chunked",
        "token_budget": int(notes["token_budget"]),
    }
    if plan.evict == "recompute" and plan.kv_tokens is None:
        return Capacity(plan.batch, plan.kv_slots, **how)
    block, tokens = int(notes["block_tokens"]), int(notes["blocks"]) * int(notes["block_tokens"])
    park = "false" if plan.evict == "recompute" else "true"
    return Capacity(
        plan.batch, "unlimited", tokens, manager=f"paged:block={block}+park={park}", **how
    )


def server_of(plan: Plan, record: Record, priced: PricedTrace, step_time: StepTime) -> SimPyServer:
    """Return the simulator's stepping server for a live run, before its first decision.

    Parameters
    ----------
    priced : one row per request of the plan, in its order.
    step_time : returns the time of each step.
    """
    arrival_ns = np.array([r.arrival_ns for r in plan.requests], dtype=np.int64)
    predicted_tokens = np.array([r.predicted_tokens for r in plan.requests], dtype=np.int64)
    rows = np.arange(len(plan.requests))
    workload = Workload(priced, rows, arrival_ns, predicted_tokens)
    capacity, drafter = capacity_of(plan, record), drafter_of(plan, priced.profile.costs)
    recorded = recorded_rows(workload)
    if drafter is not None:
        recorded = positions_of(priced, rows.tolist(), drafter.policy)
    return SimPyServer(
        simpy.Environment(),
        workload,
        recorded,
        plan.bound_policy(),
        capacity,
        capacity.memory(priced.profile.costs),
        RunRecord(len(workload)),
        drafter=drafter,
        measured=step_time,
    )


def run_of(server: SimPyServer) -> Run:
    """Serve all requests and return the run."""
    server.env.run(server.env.process(server.serve()))
    return server.run_record.run(server.workload.arrival_ns, int(server.env.now), server.policy)


def predict_run(
    plan: Plan,
    record: Record,
    profile: Profile,
    slowness: Callable[[int], float] | None = None,
    trace: Trace | None = None,
) -> tuple[Run, Order]:
    """Return the simulated run of a plan, and the order of its rounds.

    Costs come from a profile, acceptance from the live run or from a trace.

    Parameters
    ----------
    slowness : the factor on the costs at an instant of the run; None: 1.
    trace : one row per request of the plan, in its order, recorded before the run; the true values
        of clairvoyant policies come from it too. None: acceptance of the live run.

    Raises
    ------
    ValueError
        If the live run was interrupted, or the profile does not cover it.
    """
    order: Order = []

    def follow(now_ns: int, running: Sequence[Request]) -> int | None:
        rounds = [r for r in server.step or running if not r.uncomputed_tokens]
        order.extend(sorted((r.index, r.rounds) for r in rounds))
        return None if slowness is None else max(1, round(server.cost_ns() * slowness(now_ns)))

    priced = price(trace_of(plan, record) if trace is None else trace, profile)
    if trace is not None and plan.bound_policy().clairvoyant:
        plan = _with_true_values(plan, priced)
    server = server_of(plan, record, priced, follow)
    return run_of(server), order


def live_order(record: Record) -> Order:
    """Return the order of the rounds of a live run, without pieces of prompts."""
    rounds: dict[int, int] = {}
    order: Order = []
    for step in record.steps:
        for index in sorted(
            i for i, emitted in zip(step.running, step.emitted, strict=True) if emitted
        ):
            order.append((index, rounds.get(index, 0)))
            rounds[index] = rounds.get(index, 0) + 1
    return order


def with_true_values(plan: Plan, record: Record, profile: Profile) -> Plan:
    """Return the plan with the true values that clairvoyant policies know.

    They are the rounds of a live run of the plan, with the costs of a profile.
    """
    return _with_true_values(plan, price(trace_of(plan, record), profile))


def _with_true_values(plan: Plan, priced: PricedTrace) -> Plan:
    return replace(
        plan,
        context=with_truth(plan.context, [Recorded(priced, i) for i in range(len(plan.requests))]),
    )
