"""Runs by the compiled loop: workloads and policies become arrays, and arrays become runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy, PolicyContext
from lapsd.policies.calls import no_progress
from lapsd.sim.engine.capacity import FREE, Capacity
from lapsd.sim.engine.compiled import flat_server as flat
from lapsd.sim.engine.compiled.arrays import (
    MANAGERS,
    capacity_fields,
    jobs_of,
    prefill_table,
    refuse,
    round_costs,
    rounds_of,
    step_tables,
)
from lapsd.sim.engine.compiled.job import JOB
from lapsd.sim.engine.compiled.policy import CompiledPolicy, NotCompilable, compile_policy, explain
from lapsd.sim.engine.compiled.program import serve
from lapsd.sim.engine.memory import Memory
from lapsd.sim.engine.recorded import recorded_rows, with_truth
from lapsd.sim.engine.run_record import Run
from lapsd.traces import Workload

WHY = {
    flat.DOES_NOT_FIT: "the first does not fit the memory",
    flat.NO_TRANSFER: "no cache is on its way",
}


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """A workload, and the policy that `bind` returned for it, with its compiled methods."""

    workload: Workload
    policy: Policy
    compiled: CompiledPolicy

    @property
    def for_one_run(self) -> bool:
        """Whether the bound policy knows its workload, or changes with its events."""
        return self.policy.clairvoyant or self.compiled.on_event != 0


def plan(
    workloads: Sequence[Workload],
    policies: Sequence[Policy],
    contexts: Sequence[PolicyContext],
    capacity: Capacity,
) -> list[PlannedRun | NotCompilable]:
    """Bind and compile the policy of each workload; a policy or a memory manager that cannot be
    compiled gives the error that says why.
    """
    memory = capacity.memory(FREE)
    if type(memory) not in MANAGERS:
        why = NotCompilable(f"memory {memory.name}: has no compiled form")
        return [why] * len(workloads)
    planned: list[PlannedRun | NotCompilable] = []
    for k, (workload, policy, context) in enumerate(
        zip(workloads, policies, contexts, strict=True)
    ):
        last = planned[-1] if planned else None
        again = k > 0 and policy is policies[k - 1] and context is contexts[k - 1]
        if again and isinstance(last, NotCompilable):
            planned.append(last)
        # a policy that takes in events, or knows the workload, is bound for each run
        elif again and isinstance(last, PlannedRun) and not last.for_one_run:
            planned.append(replace(last, workload=workload))
        else:
            planned.append(_planned(workload, policy, context))
    return planned


def _planned(
    workload: Workload, policy: Policy, context: PolicyContext
) -> PlannedRun | NotCompilable:
    if policy.clairvoyant:
        context = with_truth(context, recorded_rows(workload))
    bound = policy.bind(context)
    try:
        return PlannedRun(workload, bound, compile_policy(bound))
    except NotCompilable as why:
        return why


def serve_planned(planned: Sequence[PlannedRun], capacity: Capacity) -> list[Run]:
    """Serve each workload under its policy, in one call of the loop.

    The workloads replay one priced trace.

    Raises
    ------
    ValueError
        If a request can never fit, times may exceed 64 bits, a policy fails, or waiting requests
        can never run.
    """
    priced = planned[0].workload.priced
    assert all(run.workload.priced is priced for run in planned), "one priced trace for all runs"
    memory = capacity.memory(priced.profile.costs)
    for workload in {id(run.workload): run.workload for run in planned}.values():
        refuse(workload, capacity, memory)
    jobs, firsts = _all_jobs(planned, capacity, memory)
    arrays = lists_for(planned, capacity, jobs)
    servers = np.zeros(len(planned), flat.SERVER)
    servers["keys_address"] = arrays.keys.ctypes.data
    servers["out_address"] = arrays.out.ctypes.data
    servers["first"] = firsts
    servers["jobs_address"] = jobs.ctypes.data + firsts * JOB.itemsize
    kept = [
        _fill(server, run, capacity, memory, jobs)
        for server, run in zip(servers, planned, strict=True)
    ]
    serve(servers, arrays)
    del kept  # what the addresses in the records point to
    return [
        _run_of(run, server, jobs[first : first + len(run.workload)])
        for run, server, first in zip(planned, servers, firsts.tolist(), strict=True)
    ]


def _all_jobs(
    planned: Sequence[PlannedRun], capacity: Capacity, memory: Memory
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the records of the requests of all runs, and where those of each run begin."""
    made: dict[int, NDArray[Any]] = {}
    for run in planned:
        if id(run.workload) not in made:
            made[id(run.workload)] = jobs_of(run.workload, capacity, memory)
    parts = [made[id(run.workload)] for run in planned]
    firsts = np.cumsum([0, *map(len, parts)], dtype=np.int64)[:-1]
    return parts[0] if len(parts) == 1 else np.concatenate(parts), firsts


def _fill(
    server: Any, run: PlannedRun, capacity: Capacity, memory: Memory, jobs: NDArray[Any]
) -> Any:
    """Fill in a server's record; return what must live as long as the record."""
    first = int(server["first"])
    states = run.compiled.states(run.policy, jobs[first : first + len(run.workload)])
    parameters = run.compiled.parameters(run.policy)  # which `on_arrival` may have filled
    fields = {
        **capacity_fields(run.workload, capacity, memory),
        **policy_fields(run.compiled, run.policy, parameters.address),
    }
    for name, value in fields.items():
        server[name] = value
    return parameters, states


def policy_fields(compiled: CompiledPolicy, policy: Policy, address: int) -> dict[str, int]:
    """Return the fields of a server's record that say how to call the policy."""
    methods = {name: getattr(compiled, name) for name in flat.METHODS}
    return {**methods, "policy": address, "ages": policy.ages}


def lists_for(planned: Sequence[PlannedRun], capacity: Capacity, jobs: NDArray[Any]) -> flat.Server:
    """Return the requests of all runs, and lists that are long enough for each of them."""
    priced = planned[0].workload.priced
    longest = max(len(run.workload) for run in planned)
    keys = np.zeros(longest * flat.WIDTH, dtype=np.int64)
    waiting, parked, ordered, some, waits_ns = (np.zeros(longest, dtype=np.int64) for _ in range(5))
    running, chosen, fresh = (np.zeros(capacity.batch, dtype=np.int64) for _ in range(3))
    rounds = rounds_of(priced)
    empty = flat.StepTables(*[np.zeros(1, dtype=np.int64)] * len(flat.StepTables._fields))
    return flat.Server(
        0,
        jobs,
        keys,
        waiting,
        running,
        chosen,
        fresh,
        parked,
        ordered,
        some,
        waits_ns,
        np.zeros(1, dtype=np.int64),
        rounds.drafted,
        rounds.accepted,
        rounds.emitted,
        *round_costs(priced, capacity.batch),
        *prefill_table(priced.profile.costs),
        step_tables(priced, capacity.batch) if capacity.in_steps else empty,
    )


def _run_of(run: PlannedRun, server: Any, jobs: NDArray[Any]) -> Run:
    """Return what happened to the requests of a run."""
    if server["error"]:
        raise _error_of(run, server, jobs)
    columns = {
        name: np.ascontiguousarray(jobs[name])
        for name in ("first_service_ns", "first_token_ns", "finish_ns", "switch_ns", "preemptions")
    }
    closed = run.workload.clients is not None
    return Run(
        np.ascontiguousarray(jobs["arrival_ns"]) if closed else run.workload.arrival_ns,
        **columns,
        service_ns=jobs["prefill_ns"] + jobs["service_ns"],
        rounds=int(server["rounds"]),
        idle_ns=int(server["idle_ns"]),
        end_ns=int(server["now_ns"]),
        policy=run.policy,
    )


def _error_of(run: PlannedRun, server: Any, jobs: NDArray[Any]) -> ValueError:
    """Return the error of a run that its policy or the memory ended."""
    now_ns, i = int(server["error_ns"]), int(server["error_request"])
    if server["error"] in WHY:
        return no_progress(run.policy, now_ns, i, WHY[server["error"]])
    return explain(run.policy, jobs, i, now_ns, flat.METHODS[server["error_method"]])
