"""Runs by the compiled loop: workloads and policies become arrays, and arrays become runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.policies.decision import no_progress
from lapsd.sim.engine.capacity import Capacity
from lapsd.sim.engine.compiled import flat_server as flat
from lapsd.sim.engine.compiled.arrays import (
    capacity_fields,
    jobs_of,
    round_costs,
    rounds_of,
    step_tables,
)
from lapsd.sim.engine.compiled.policy import CompiledPolicy
from lapsd.sim.engine.compiled.program import serve
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


def compiled_runs(planned: Sequence[PlannedRun], capacity: Capacity) -> list[Run]:
    """Serve each workload under its policy, in one call of the loop.

    The workloads replay one priced trace.

    Raises
    ------
    ValueError
        If a policy fails, or waiting requests can never run.
    """
    priced = planned[0].workload.priced
    assert all(run.workload.priced is priced for run in planned), "one priced trace for all runs"
    memory = capacity.memory(priced.profile.costs)
    jobs = np.concatenate([jobs_of(run.workload, capacity, memory) for run in planned])
    servers = np.zeros(len(planned), flat.SERVER)
    kept, first = [], 0
    for run, server in zip(planned, servers, strict=True):
        own = jobs[first : first + len(run.workload)]
        parameters = run.compiled.parameters(run.policy)
        kept += [parameters, run.compiled.states(run.policy, own)]
        fields = {
            **capacity_fields(run.workload, capacity, memory),
            **policy_fields(run.compiled, run.policy, parameters.address),
            "first": first,
            "jobs_address": own.ctypes.data,
        }
        for name, value in fields.items():
            server[name] = value
        first += len(own)
    arrays = lists_for(planned, capacity, jobs)
    servers["keys_address"], servers["out_address"] = (
        arrays.keys.ctypes.data,
        arrays.out.ctypes.data,
    )
    serve(servers, arrays)
    runs = zip(planned, servers, strict=True)
    return [
        _run_of(run, server, jobs[server["first"] :][: len(run.workload)]) for run, server in runs
    ]


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
    empty = flat.StepTables(*[np.zeros(1, dtype=np.int64)] * 7)
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
    now_ns, i = int(server["now_ns"]), int(server["error_request"])
    if server["error"] in WHY:
        return no_progress(run.policy, now_ns, i, WHY[server["error"]])
    from lapsd.sim.engine.compiled.policy import explain

    return explain(run.policy, jobs, i, now_ns, flat.METHODS[server["error_method"]])
