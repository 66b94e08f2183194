"""Runs by the compiled loop: workloads and policies become arrays, and arrays become runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy, PolicyContext
from lapsd.policies.calls import bound, no_progress
from lapsd.policies.drafts import DraftContext, DraftPolicy
from lapsd.sim.engine.capacity import FREE, Capacity
from lapsd.sim.engine.compiled import flat_server as flat
from lapsd.sim.engine.compiled.arrays import (
    MANAGERS,
    capacity_fields,
    jobs_of,
    prefill_table,
    prefix_tables,
    refuse,
    round_costs,
    rounds_of,
    step_tables,
    workload_fields,
)
from lapsd.sim.engine.compiled.draft_policy import (
    BoundDrafts,
    bind_drafts,
    draft_tables,
    explain_drafts,
    no_drafts,
)
from lapsd.sim.engine.compiled.job import JOB
from lapsd.sim.engine.compiled.parameters import Parameters
from lapsd.sim.engine.compiled.policy import CompiledPolicy, NotCompilable, compile_policy, explain
from lapsd.sim.engine.compiled.program import serve
from lapsd.sim.engine.drafting import Drafting, refuse_truth
from lapsd.sim.engine.longest_run import refuse_large_estimates, refuse_long_runs
from lapsd.sim.engine.memory import Memory
from lapsd.sim.engine.recorded import recorded_rows, with_truth
from lapsd.sim.engine.run_record import COLUMNS, Run
from lapsd.traces import Workload

WHY = {
    flat.DOES_NOT_FIT: "the first does not fit the memory",
    flat.NO_TRANSFER: "no cache is on its way",
}


@dataclass(frozen=True, eq=False)
class BoundPolicy:
    """A policy that `bind` returned, with its compiled methods."""

    policy: Policy
    compiled: CompiledPolicy

    @property
    def for_one_run(self) -> bool:
        """Whether the bound policy knows its workload, or may change in a run."""
        return (
            self.policy.clairvoyant
            or self.looks_at_arrivals
            or self.compiled.on_event != 0
            or self.compiled.layout.changeable
        )

    @cached_property
    def looks_at_arrivals(self) -> bool:
        """Whether it fills the State of each request."""
        return type(self.policy).on_arrival is not Policy.on_arrival

    @cached_property
    def parameters(self) -> Parameters:
        """The record of its parameters, which `on_arrival` may change before."""
        return self.compiled.parameters(self.policy)

    @cached_property
    def fields(self) -> dict[str, int]:
        """Fields of a server's record that say how to call the policy."""
        methods = {name: getattr(self.compiled, name) for name in flat.METHODS}
        writes = methods["on_round"] != 0 and self.compiled.layout.changeable
        return {**methods, "ages": self.policy.ages, "writes_in_rounds": writes}


class PlannedRun(NamedTuple):
    """A workload, and the policy that was bound for it."""

    workload: Workload
    bound: BoundPolicy
    drafts: BoundDrafts | None = None


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
    for workload, policy, context in zip(workloads, policies, contexts, strict=True):
        made = _bound(policy, context, workload)
        drafts: BoundDrafts | NotCompilable | None = None
        if policy.drafts is not None:
            refuse_truth(policy)
            drafts = _bound_drafts(policy.drafts, context.drafts, capacity.drafting)
        if isinstance(made, NotCompilable):
            planned.append(made)
        elif isinstance(drafts, NotCompilable):
            planned.append(drafts)
        else:
            planned.append(PlannedRun(workload, made, drafts))
    return planned


_LATEST_DRAFTS: list[
    tuple[DraftContext, dict[tuple[DraftPolicy, Drafting], BoundDrafts | NotCompilable]]
] = []
"""The context of the latest run, and the draft policies that were bound to it."""


def _bound_drafts(
    policy: DraftPolicy, context: DraftContext, drafting: Drafting
) -> BoundDrafts | NotCompilable:
    """Return a draft policy bound for a run; equal ones in one context are one object."""
    if not _LATEST_DRAFTS or _LATEST_DRAFTS[0][0] is not context:
        _LATEST_DRAFTS[:] = [(context, {})]
    known = _LATEST_DRAFTS[0][1]
    if (policy, drafting) not in known:
        known[policy, drafting] = bind_drafts(policy, context, drafting)
    return known[policy, drafting]


_LATEST: list[tuple[PolicyContext, dict[int, tuple[Policy, BoundPolicy | NotCompilable]]]] = []
"""The context of the latest run, and the policies that were bound to it, by their `id`."""


def _bound(
    policy: Policy, context: PolicyContext, workload: Workload
) -> BoundPolicy | NotCompilable:
    """Return a policy bound for a run; runs in one context share it if no run can change it."""
    if policy.clairvoyant:
        return _compiled(bound(policy, with_truth(context, recorded_rows(workload))))
    if not _LATEST or _LATEST[0][0] is not context:
        _LATEST[:] = [(context, {})]
    known = _LATEST[0][1]
    if id(policy) in known:
        return known[id(policy)][1]
    made = _compiled(bound(policy, context))
    if isinstance(made, NotCompilable) or not made.for_one_run:
        known[id(policy)] = policy, made
    return made


def _compiled(policy: Policy) -> BoundPolicy | NotCompilable:
    try:
        return BoundPolicy(policy, compile_policy(policy))
    except NotCompilable as why:
        return why


def serve_planned(planned: Sequence[PlannedRun], capacity: Capacity) -> list[Run]:
    """Serve each workload under its policy, in one call of the loop.

    The workloads replay one priced trace, and all runs have one draft policy, or none.

    Raises
    ------
    ValueError
        If a request can never fit, times may exceed 64 bits, a policy fails, or waiting requests
        can never run.
    """
    priced, drafts = planned[0].workload.priced, planned[0].drafts
    assert all(run.workload.priced is priced for run in planned), "one priced trace for all runs"
    assert all(run.drafts is drafts for run in planned), "one draft policy for all runs"
    memory, longest = capacity.memory_for(priced), rounds_of(priced).longest_draft
    if drafts is not None:
        longest = drafts.longest_drafts(len(longest))
    workloads = list({id(run.workload): run.workload for run in planned}.values())
    refuse(workloads, capacity, memory, longest, drafts)
    bound_drafts = None if drafts is None else drafts.policy
    refuse_long_runs(workloads, capacity, memory, bound_drafts)
    refuse_large_estimates([run.bound.policy for run in planned], workloads, capacity)
    jobs, starts = _all_jobs(planned, capacity, memory, longest)
    tables = no_drafts()
    servers = np.zeros(len(planned), flat.SERVER)
    if drafts is not None:
        tables = draft_tables(drafts, priced, capacity.batch, jobs)
        for name, value in drafts.fields(tables).items():
            servers[name] = value
    states = _states(planned, jobs, starts)
    for name, value in capacity_fields(priced, capacity, memory).items():
        servers[name] = value
    for name, values in workload_fields([run.workload for run in planned]).items():
        servers[name] = values
    parameters = _fill_policies(servers, [run.bound for run in planned])
    hashes, prefixes = prefix_tables(priced, memory)
    arrays = lists_for(planned, capacity, jobs)
    arrays = arrays._replace(drafts=tables, hashes=hashes, prefixes=prefixes)
    servers["keys_address"] = arrays.keys.ctypes.data
    servers["out_address"] = arrays.out.ctypes.data
    servers["first"] = starts[:-1]
    servers["jobs_address"] = jobs.ctypes.data + starts[:-1] * JOB.itemsize
    draft_states = _draft_states(servers, drafts)
    serve(servers, arrays)
    _refuse_failed(planned, servers, jobs, starts, tables)
    del states, parameters, draft_states  # to which the records point
    return _runs_of(planned, servers, jobs, starts)


def _all_jobs(
    planned: Sequence[PlannedRun], capacity: Capacity, memory: Memory, longest: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the records of the requests of all runs, and where those of each run begin; at last,
    where they end.
    """
    workloads = {id(run.workload): run.workload for run in planned}
    jobs, made, end = jobs_of(list(workloads.values()), capacity, memory, longest), {}, 0
    for key, workload in workloads.items():
        made[key] = np.arange(end, end + len(workload))
        end += len(workload)
    parts = [made[id(run.workload)] for run in planned]
    starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return jobs if len(workloads) == len(planned) else jobs[np.concatenate(parts)], starts


def _states(
    planned: Sequence[PlannedRun], jobs: NDArray[Any], starts: NDArray[np.int64]
) -> list[Any]:
    """Make the State of each request, and write its address to the request's record.

    Runs whose policies have the same State, and do not look at arrivals, take one array.
    """
    made: list[Any] = []
    shared: dict[int, list[int]] = {}
    for k, (_, policy, _) in enumerate(planned):
        if policy.looks_at_arrivals:
            made.append(policy.compiled.states(policy.policy, jobs[starts[k] : starts[k + 1]]))
        else:
            shared.setdefault(id(policy.compiled), []).append(k)
    for runs in shared.values():
        policy = planned[runs[0]].bound
        if len(runs) == len(planned):
            made.append(policy.compiled.states(policy.policy, jobs))
        else:
            mine = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in runs])
            blank = np.zeros(len(mine), JOB)
            made.append(policy.compiled.states(policy.policy, blank))
            jobs["state_address"][mine] = blank["state_address"]
    return made


def _fill_policies(servers: NDArray[Any], policies: Sequence[BoundPolicy]) -> list[Parameters]:
    """Fill in how each server calls its policy; return the parameters, to which the records
    point.
    """
    distinct = {id(policy): policy for policy in policies}
    parameters = {key: policy.parameters for key, policy in distinct.items()}
    addresses = {key: made.address for key, made in parameters.items()}
    servers["policy"] = [addresses[id(policy)] for policy in policies]
    for name in (*flat.METHODS, "ages", "writes_in_rounds"):
        servers[name] = [policy.fields[name] for policy in policies]
    return list(parameters.values())


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
        rounds.rounds,
        *round_costs(priced, capacity.batch),
        *prefill_table(priced.profile.costs),
        empty.sizes,
        step_tables(priced, capacity.batch) if capacity.in_steps else empty,
        no_drafts(),
        flat.PrefixTables(*[empty.sizes] * len(flat.PrefixTables._fields)),
    )


def _draft_states(servers: NDArray[Any], drafts: BoundDrafts | None) -> NDArray[Any] | None:
    """Make the state that the draft policy keeps of each server, if it keeps one."""
    if drafts is None or not drafts.state.names:
        return None
    states = np.repeat(drafts.new_state(), len(servers))
    servers["draft_state_address"] = states.ctypes.data + states.itemsize * np.arange(len(servers))
    return states


def _refuse_failed(
    planned: Sequence[PlannedRun],
    servers: NDArray[Any],
    jobs: NDArray[Any],
    starts: NDArray[np.int64],
    tables: flat.DraftTables,
) -> None:
    """Raise the error of the first run that failed, before what the records point to is gone."""
    for k in np.flatnonzero(servers["error"])[:1].tolist():
        drafts = planned[k].drafts
        if servers[k]["error_method"] == flat.CHOOSE and drafts is not None:
            raise explain_drafts(drafts, tables, int(servers[k]["error_ns"]))
        raise error_of(planned[k].bound.policy, servers[k], jobs[starts[k] : starts[k + 1]])


def _runs_of(
    planned: Sequence[PlannedRun],
    servers: NDArray[Any],
    jobs: NDArray[Any],
    starts: NDArray[np.int64],
) -> list[Run]:
    """Return what happened to the requests of each run; their arrays are parts of one."""
    ends = starts.tolist()
    names = [name for name in COLUMNS if name != "service_ns"]
    columns: dict[str, Any] = {name: np.ascontiguousarray(jobs[name]) for name in names}
    columns["service_ns"] = jobs["prefill_ns"] + jobs["service_ns"]
    arrival_ns = np.ascontiguousarray(jobs["arrival_ns"])
    of_servers = (servers[name].tolist() for name in ("rounds", "idle_ns", "now_ns"))
    return [
        Run(
            workload.arrival_ns if workload.clients is None else arrival_ns[first:last],
            **{name: column[first:last] for name, column in columns.items()},
            rounds=rounds,
            idle_ns=idle_ns,
            end_ns=end_ns,
            policy=own.policy,
        )
        for (workload, own, _), first, last, rounds, idle_ns, end_ns in zip(
            planned, ends[:-1], ends[1:], *of_servers, strict=True
        )
    ]


def error_of(policy: Policy, server: Any, jobs: NDArray[Any]) -> ValueError:
    """Return the error of a run that its policy or the memory ended."""
    now_ns, i = int(server["error_ns"]), int(server["error_request"])
    if server["error"] in WHY:
        return no_progress(policy, now_ns, i, WHY[server["error"]])
    return explain(policy, jobs, i, now_ns, flat.METHODS[server["error_method"]])
