"""Run a workload under a policy: which program serves it, and what the policy knows beforehand."""

import itertools
import warnings
from collections.abc import Sequence

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
from lapsd.sim.engine.server import SimPyServer
from lapsd.sim.engine.servers.batch import BatchServer
from lapsd.sim.engine.servers.mixed import MixedServer
from lapsd.sim.engine.servers.offload import OffloadServer
from lapsd.sim.engine.servers.single import SingleServer
from lapsd.sim.engine.servers.skip import SkipServer
from lapsd.sim.engine.timeline import Timeline
from lapsd.traces import Workload

ENGINES = ("auto", "simpy", "compiled")


class SlowEngine(UserWarning):
    """A run that the compiled loop cannot do goes on in SimPy, which is slower."""


def simulate(
    workload: Workload,
    policy: Policy,
    *,
    context: PolicyContext,
    capacity: Capacity | None = None,
    engine: str | None = None,
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
        and one KV cache fits, so that every switch takes time.
    engine : the program that runs: `simpy`, the specification; `compiled`, the loop that Numba
        compiles; or `auto`, which is `compiled` where the policy can be compiled and nothing is
        recorded, and else `simpy`. Results are the same to the nanosecond. None: as `skip` says.
    skip : whether to leap over rounds in which nothing can change, where `engine` is None.
    check : whether the server checks its invariants at every decision (slow; in SimPy).
    timeline, occupancy : records of every decision, and of how full the memory is (in SimPy).

    Raises
    ------
    ValueError
        If a request can never fit the KV memory, the profile does not cover the batch, the policy
        fails, ranks cannot be compared, or `compiled` cannot compile the policy.
    """
    capacity = capacity or Capacity()
    if engine not in (None, *ENGINES):
        raise ValueError(f"engine={engine}: must be {', '.join(ENGINES)}")
    if workload.priced.batch != 1:
        raise ValueError(
            f"workload priced at a batch of {workload.priced.batch}: must be priced at batch=1"
        )
    watched = check or timeline is not None or occupancy is not None
    if engine == "compiled" and watched:
        raise ValueError("engine=compiled: records no timeline or occupancy, and has no checks")
    if engine == "compiled" or (engine == "auto" and not watched):
        return _compiled([workload], [policy], [context], capacity, engine == "auto")[0]
    recorded = recorded_rows(workload)
    memory = capacity.memory(workload.priced.profile.costs)
    memory.refuse(recorded)
    capacity.refuse(recorded)
    policy = policy.bind(with_truth(context, recorded) if policy.clairvoyant else context)
    env, run_record = simpy.Environment(), RunRecord(len(workload))
    there = (env, workload, recorded, policy, capacity, memory, run_record)
    server: SimPyServer | SkipServer
    transfers_in_steps = capacity.in_steps and isinstance(memory, Offload)
    stepping = watched or transfers_in_steps or engine is not None or not skip
    if stepping or not (memory.predictable and promises(policy)):
        server = SimPyServer(*there, check, timeline, occupancy)
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


def _compiled(
    workloads: Sequence[Workload],
    policies: Sequence[Policy],
    contexts: Sequence[PolicyContext],
    capacity: Capacity,
    auto: bool,
) -> list[Run]:
    """Serve each workload under its policy by the compiled loop; with `auto`, policies that cannot
    be compiled by SimPy.
    """
    from lapsd.sim.engine.compiled.policy import NotCompilable  # imports Numba, and so do these
    from lapsd.sim.engine.compiled.runs import TimesTooLarge, runs_of

    try:
        return runs_of(workloads, policies, contexts, capacity)
    except (NotCompilable, TimesTooLarge) as why:
        if not auto:
            raise
        warnings.warn(
            f"{why}: this policy runs in SimPy, which is slower", SlowEngine, stacklevel=3
        )
    given = zip(workloads, policies, contexts, strict=True)
    return [
        simulate(work, policy, context=context, capacity=capacity, engine="simpy")
        for work, policy, context in given
    ]


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
