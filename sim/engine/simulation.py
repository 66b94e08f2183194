"""Run a workload: which of the servers serves it, and what policies know beforehand."""

import itertools

import numpy as np
import simpy

from lapsd.policies import Policy, PolicyContext
from lapsd.policies.decision import name_of
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.memory import Offload
from lapsd.sim.engine.occupancy import Occupancy
from lapsd.sim.engine.recorded import recorded_rows, with_truth
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.run_record import Run, RunRecord
from lapsd.sim.engine.servers.batch import BatchServer
from lapsd.sim.engine.servers.mixed import MixedServer
from lapsd.sim.engine.servers.offload import OffloadServer
from lapsd.sim.engine.servers.single import SingleServer
from lapsd.sim.engine.servers.skip import SkipServer
from lapsd.sim.engine.servers.step import StepServer
from lapsd.sim.engine.timeline import Timeline
from lapsd.traces import Workload


def simulate(
    workload: Workload,
    policy: Policy,
    *,
    context: PolicyContext,
    capacity: Capacity | None = None,
    skip: bool = True,
    check: bool = False,
    timeline: Timeline | None = None,
    occupancy: Occupancy | None = None,
) -> Run:
    """Serve `workload` under `policy`, from an empty server until the last request is done.

    Parameters
    ----------
    context : what the server knows beforehand; true sizes are added here for clairvoyant policies
        only.
    capacity : batch size, KV memory and what happens when it is full; by default one request runs
        and one KV cache fits, so that every switch pays.
    skip : leap over rounds where nothing can change, for policies that promise what `run_until`
        needs and memory that can say how long it lasts. Results are the same to the nanosecond;
        False steps through every round, which is slow, and is the specification.
    check : hold the server to its invariants at every decision (slow).
    timeline, occupancy : record every decision, and how full the memory is (step through every
        round).

    Raises
    ------
    ValueError
        If a request can never fit the KV memory, the profile does not cover the batch, or ranks
        cannot be compared.
    """
    capacity = capacity or Capacity()
    recorded = recorded_rows(workload)
    memory = capacity.memory(workload.priced.profile.costs)
    memory.refuse(recorded)
    capacity.refuse(recorded)
    policy = policy.bind(with_truth(context, recorded) if policy.clairvoyant else context)
    env, run_record = simpy.Environment(), RunRecord(len(workload))
    there = (env, workload, recorded, policy, capacity, memory, run_record)
    server: StepServer | SkipServer
    watched = timeline is not None or occupancy is not None
    moves_in_steps = capacity.in_steps and isinstance(memory, Offload)
    if watched or moves_in_steps or not (skip and memory.predictable and promises(policy)):
        server = StepServer(*there, check, timeline, occupancy)
    elif isinstance(memory, Offload):
        server = OffloadServer(*there, check)
    elif capacity.in_steps:
        server = MixedServer(*there, check)
    elif capacity.batch == 1 and not memory.grows:
        server = SingleServer(*there, check)
    else:
        server = BatchServer(*there, check)
    try:
        env.run(env.process(server.serve()))
    except TypeError as error:
        if "not supported between instances" not in str(error):
            raise
        which = _which_two(policy, server.active(), int(env.now)) or str(error)
        raise ValueError(f"policy {name_of(policy)}: ranks are not comparable ({which})") from error
    arrived = (
        workload.arrival_ns
        if workload.clients is None
        else np.array(server.arrived_ns, dtype=np.int64)
    )
    return run_record.run(arrived, int(env.now), policy)


def promises(policy: Policy) -> bool:
    """Whether its `run_until` can be trusted: no class below the one that defines it defines a
    method of its own.
    """
    for kind in type(policy).__mro__:
        if "run_until" in vars(kind):
            return kind is not Policy
        if any(
            callable(v) or isinstance(v, property)
            for k, v in vars(kind).items()
            if not k.startswith("__")
        ):
            return False
    return False


def _which_two(policy: Policy, requests: list[Request], now_ns: int) -> str | None:
    """Two requests whose ranks cannot be compared."""
    ranked = [(r.index, policy.rank(r, now_ns)) for r in requests]
    for (one, rank), (other, rival) in itertools.combinations(ranked, 2):
        try:
            _ = rank < rival
        except TypeError:
            return f"{rank} of request {one}, {rival} of request {other}"
    return None
