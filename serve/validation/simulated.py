"""The simulator's server for a live run's plan: its requests, arrivals, predictions, policy, batch
and memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import simpy

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.validation.recorded import trace_of
from lapsd.sim.engine import Capacity, Run
from lapsd.sim.engine.recorded import Recorded, recorded_rows, with_truth
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.run_record import RunRecord
from lapsd.sim.engine.servers.step import StepServer
from lapsd.traces import PricedTrace, Profile, Workload, price

Took = Callable[
    [int, Sequence[Request]], int | None
]  # what a step takes, from an instant on; None: what it costs
Order = list[tuple[int, int]]  # (request, its round), in the order that they ran


def capacity_of(plan: Plan, record: Record) -> Capacity:
    """What the engine of a live run could run and hold, in the simulator's words.

    vLLM reads prompts in chunks that share steps with rounds, and who loses its seat keeps its
    blocks, or, where a plan evicts by recompute, frees them.
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
    return Capacity(plan.batch, None, tokens, manager=f"paged:block={block}+park={park}", **how)


def server_of(plan: Plan, record: Record, priced: PricedTrace, took: Took) -> StepServer:
    """The specification's server for a live run, before its first decision.

    Parameters
    ----------
    priced : a row a request of the plan, in its order.
    """
    planned = np.array([(r.arrival_ns, r.predicted_tokens) for r in plan.requests], dtype=np.int64)
    workload = Workload(priced, np.arange(len(plan.requests)), planned[:, 0], planned[:, 1])
    capacity = capacity_of(plan, record)
    return StepServer(
        simpy.Environment(),
        workload,
        recorded_rows(workload),
        plan.bound_policy(),
        capacity,
        capacity.memory(priced.profile.costs),
        RunRecord(len(workload)),
        measured=took,
    )


def run_of(server: StepServer) -> Run:
    """Serve to the end."""
    server.env.run(server.env.process(server.serve()))
    return server.run_record.run(server.workload.arrival_ns, int(server.env.now), server.policy)


def foretell(
    plan: Plan, record: Record, profile: Profile, slowness: Callable[[int], float] | None = None
) -> tuple[Run, Order]:
    """What the simulator says of a plan from costs, and from the acceptance of its live run; and
    who ran when.

    Parameters
    ----------
    slowness : how many times as long as the costs say rounds take at an instant of the run.

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

    server = server_of(plan, record, price(trace_of(plan, record), profile), follow)
    return run_of(server), order


def live_order(record: Record) -> Order:
    """Who ran when, in truth; pieces of prompts are no rounds."""
    rounds: dict[int, int] = {}
    order: Order = []
    for step in record.steps:
        for index in sorted(
            i for i, emitted in zip(step.running, step.emitted, strict=True) if emitted
        ):
            order.append((index, rounds.get(index, 0)))
            rounds[index] = rounds.get(index, 0) + 1
    return order


def told_the_truth(plan: Plan, seen: Record, profile: Profile) -> Plan:
    """The plan with what clairvoyant policies know: what its requests did in a run, at a profile's
    costs.
    """
    priced = price(trace_of(plan, seen), profile)
    return replace(
        plan,
        context=with_truth(plan.context, [Recorded(priced, i) for i in range(len(plan.requests))]),
    )
