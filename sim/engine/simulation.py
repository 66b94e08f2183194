"""Run workloads under policies: which program serves them, and what policies know beforehand."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import simpy

from lapsd.policies import Policy, PolicyContext
from lapsd.policies.calls import bound
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.drafting import Drafter, positions_of, refuse_truth
from lapsd.sim.engine.longest_run import refuse_large_estimates, refuse_long_runs
from lapsd.sim.engine.occupancy import Occupancy
from lapsd.sim.engine.recorded import recorded_rows, with_truth
from lapsd.sim.engine.run_record import Run, RunRecord
from lapsd.sim.engine.server import SimPyServer
from lapsd.sim.engine.timeline import Timeline
from lapsd.traces import Workload

ENGINES = ("auto", "simpy", "compiled")
"""Names of the programs that simulate: tuple of str. Their results are the same.

Examples
--------
>>> from lapsd.sim.engine import ENGINES
>>> ENGINES
('auto', 'simpy', 'compiled')
"""
SLOWER = 100  # SimPy's time over the loop's: 50 to 120 with 30 requests, 80 to 520 with 1,000


class SlowEngine(UserWarning):
    """A run that the compiled loop cannot do goes on in SimPy, which is slower.

    Examples
    --------
    >>> import warnings
    >>> from lapsd.sim.engine import SlowEngine
    >>> warnings.simplefilter("error", SlowEngine)  # stop instead of going on slowly
    >>> issubclass(SlowEngine, Warning)
    True
    """


def simulate(
    workload: Workload,
    policy: Policy,
    *,
    context: PolicyContext,
    capacity: Capacity | None = None,
    engine: str = "auto",
    check: bool = False,
    timeline: Timeline | None = None,
    occupancy: Occupancy | None = None,
) -> Run:
    """Serve `workload` under `policy`, from an empty server until the last request is done.

    Parameters
    ----------
    workload : Workload
        The requests, in order of arrival.
    policy : Policy
        The scheduling policy.
    context : PolicyContext
        What the server knows beforehand; true sizes are added here for clairvoyant policies only.
    capacity : Capacity or None, optional
        Batch size, KV memory and what happens when it is full; by default one request runs and one
        KV cache fits, so that every switch takes time.
    engine : str, default 'auto'
        The program that runs: `simpy`, the specification; `compiled`, the loop that Numba compiles;
        or `auto`, which is `compiled` where the policy can be compiled and nothing is recorded, and
        else `simpy`. Results are the same to the nanosecond.
    check : bool, default False
        Whether the server checks its invariants at every decision (slow; in SimPy).
    timeline, occupancy : Timeline or None, optional; Occupancy or None, optional
        Records of every decision, and of how full the memory is (in SimPy).

    Raises
    ------
    ValueError
        If a request can never fit the KV memory, the profile does not cover the batch, times may
        exceed 2**62 ns, the policy fails, ranks cannot be compared, or `compiled` cannot compile
        the policy.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import LapsSD
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference", "reference", requests=20, load=0.9
    ... )
    >>> done = lapsd.simulate(prepared.workload(0), LapsSD(), context=prepared.context)
    >>> bool((done.finish_ns > done.arrival_ns).all())
    True
    """
    capacity = capacity or Capacity()
    watched = check or timeline is not None or occupancy is not None
    if engine == "compiled" and watched:
        raise ValueError("engine=compiled: records no timeline or occupancy, and has no checks")
    if engine == "simpy" or (engine == "auto" and watched):
        return _by_simpy(workload, policy, context, capacity, check, timeline, occupancy)
    return simulate_many([workload], [policy], [context], capacity, engine)[0]


def simulate_many(
    workloads: Sequence[Workload],
    policies: Sequence[Policy],
    contexts: Sequence[PolicyContext],
    capacity: Capacity,
    engine: str = "auto",
) -> list[Run]:
    """Serve each workload under its policy; the compiled loop does all of them in one call.

    Parameters
    ----------
    workloads : Sequence[Workload]
        Workloads of one priced trace.
    policies, contexts : Sequence[Policy]; Sequence[PolicyContext]
        Of each workload, as in `simulate`.
    capacity : Capacity
        Batch size and KV memory of the server.
    engine : str, default 'auto'
        The program that runs, as in `lapsd.simulate`.

    Raises
    ------
    ValueError
        As `simulate`.

    Examples
    --------
    >>> import lapsd
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference", "reference", requests=20, load=0.9
    ... )
    >>> workload, policies = (
    ...     prepared.workload(0),
    ...     [lapsd.parse_policy("fcfs"), lapsd.parse_policy("las")],
    ... )
    >>> runs = lapsd.simulate_many(
    ...     [workload] * 2, policies, [prepared.context] * 2, lapsd.Capacity(batch=2)
    ... )
    >>> len(runs)
    2
    """
    check_engine(engine)
    given = list(zip(workloads, policies, contexts, strict=True))
    if engine == "simpy":
        return [_by_simpy(*one, capacity) for one in given]
    from lapsd.sim.engine.compiled.policy import NotCompilable  # imports Numba, and so does `runs`
    from lapsd.sim.engine.compiled.runs import plan, serve_planned

    for workload in workloads:
        refuse_batch_prices(workload)
    planned = plan(workloads, policies, contexts, capacity)
    if engine == "compiled":
        for why in planned:
            if isinstance(why, NotCompilable):
                raise why
    groups: dict[Any, list[int]] = {}  # compiled runs by their draft policy
    for k, how in enumerate(planned):
        if not isinstance(how, NotCompilable):
            groups.setdefault(how.drafts, []).append(k)
    runs: dict[int, Run] = {}
    for group in groups.values():
        together = [how for k in group if not isinstance(how := planned[k], NotCompilable)]
        runs.update(zip(group, serve_planned(together, capacity), strict=True))
    done, said = [], set()
    for k, (one, how) in enumerate(zip(given, planned, strict=True)):
        if not isinstance(how, NotCompilable):
            done.append(runs[k])
            continue
        done.append(_by_simpy(*one, capacity))
        if how not in said:  # a policy that fails is one error, and no warning before it
            said.add(how)
            slow = f"{how}: runs in SimPy, about {SLOWER} times slower"
            warnings.warn(slow, SlowEngine, stacklevel=2)
    return done


def check_engine(engine: str) -> None:
    """Check the name of an engine.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.

    Raises
    ------
    ValueError
        If it is none of `ENGINES`.

    Examples
    --------
    >>> from lapsd.sim.engine import check_engine
    >>> check_engine("compiled")
    >>> check_engine("fast")
    Traceback (most recent call last):
        ...
    ValueError: engine=fast: must be auto, simpy or compiled
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine}: must be {', '.join(ENGINES[:-1])} or {ENGINES[-1]}")


def refuse_batch_prices(workload: Workload) -> None:
    """Raise `ValueError` if the rounds of a workload are those of a batch of copies."""
    if workload.priced.batch != 1:
        raise ValueError(
            f"workload priced at a batch of {workload.priced.batch}: must be priced at batch=1"
        )


def _by_simpy(
    workload: Workload,
    policy: Policy,
    context: PolicyContext,
    capacity: Capacity,
    check: bool = False,
    timeline: Timeline | None = None,
    occupancy: Occupancy | None = None,
) -> Run:
    """Serve a workload by the specification."""
    refuse_batch_prices(workload)
    recorded, drafter = recorded_rows(workload), None
    if policy.drafts is not None:
        refuse_truth(policy)
        drafter = Drafter.of(workload, policy.drafts, context.drafts, capacity.drafting)
        recorded = positions_of(workload.priced, workload.rows.tolist(), policy.drafts)
    memory = capacity.memory_for(workload.priced)
    memory.refuse(recorded)
    capacity.refuse(recorded)
    refuse_long_runs([workload], capacity, memory, policy.drafts)
    policy = bound(policy, with_truth(context, recorded) if policy.clairvoyant else context)
    refuse_large_estimates([policy], [workload], capacity)
    env, record = simpy.Environment(), RunRecord(len(workload))
    server = SimPyServer(
        env,
        workload,
        recorded,
        policy,
        capacity,
        memory,
        record,
        check,
        timeline,
        occupancy,
        drafter,
    )
    env.run(env.process(server.serve()))
    closed = workload.clients is not None
    arrived = np.array(server.arrived_ns, dtype=np.int64) if closed else workload.arrival_ns
    return record.run(arrived, int(env.now), policy)
