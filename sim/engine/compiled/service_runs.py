"""Runs of several servers by the compiled loop: setups become arrays, and arrays become a run."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.policies.routers import Router
from lapsd.policies.routers.base import COLUMNS, OF_ACTIVE
from lapsd.sim.engine.compiled import flat_server as flat
from lapsd.sim.engine.compiled.arrays import (
    capacity_fields,
    jobs_of,
    prefix_tables,
    refuse,
    rounds_of,
    workload_fields,
)
from lapsd.sim.engine.compiled.bound import Bound
from lapsd.sim.engine.compiled.draft_policy import (
    BoundDrafts,
    draft_tables,
    explain_drafts,
    no_drafts,
    verify_costs,
)
from lapsd.sim.engine.compiled.flat_service import NO_EVENT, ROUTE, SERVICE, WORDS, Shared
from lapsd.sim.engine.compiled.parameters import Parameters
from lapsd.sim.engine.compiled.policy import NotCompilable
from lapsd.sim.engine.compiled.router import compile_router, explain_router
from lapsd.sim.engine.compiled.runs import BoundPolicy, PlannedRun, error_of, lists_for, plan
from lapsd.sim.engine.compiled.service_program import serve
from lapsd.sim.engine.guardrails import edges_of, growth
from lapsd.sim.engine.longest_run import refuse_large_estimates, refuse_long_runs
from lapsd.sim.engine.routing import Routing, predicted_sizes_ns, random_numbers
from lapsd.sim.engine.run_record import COLUMNS as OF_RUN, Run
from lapsd.sim.engine.service_setup import ServerSetup, router_of

Ints = NDArray[np.int64]


def serve_service(setups: Sequence[ServerSetup], policy: Policy, routing: Routing) -> Run:
    """Serve a workload on several servers, in one call of the loop.

    Raises
    ------
    NotCompilable
        If the policy, the router or the memory manager cannot be compiled.
    ValueError
        As `simulate_service`.
    """
    kinds = list({id(setup): setup for setup in setups}.values())
    planned = [_planned(kind, policy) for kind in kinds]
    router = router_of(setups, routing)
    compiled = None if router is None else compile_router(router)
    return _Service(setups, kinds, planned, compiled, routing).run()


def _planned(setup: ServerSetup, policy: Policy) -> PlannedRun:
    """Return the policy that was bound for a kind of servers."""
    (how,) = plan([setup.workload], [policy], [setup.context], setup.capacity)
    if isinstance(how, NotCompilable):
        raise how
    return how


class _Service:
    """The arrays of a run of several servers.

    Parameters
    ----------
    kinds : the distinct setups.
    planned : the policy of each kind.
    router : None: servers take from one queue.
    """

    def __init__(
        self,
        setups: Sequence[ServerSetup],
        kinds: Sequence[ServerSetup],
        planned: Sequence[PlannedRun],
        router: Bound[Router] | None,
        routing: Routing,
    ) -> None:
        self.kinds, self.planned, self.router, self.routing = kinds, planned, router, routing
        places = {id(kind): place for place, kind in enumerate(kinds)}
        self.costs = np.array([places[id(setup)] for setup in setups], dtype=np.int64)
        self.workload, self.count = setups[0].workload, len(setups)
        self.kept: list[Any] = []  # what records point to

    def run(self) -> Run:
        """Serve all requests."""
        jobs = self._jobs()
        arrays, servers = self._servers(jobs)
        services, shared = self._shared(jobs, servers)
        serve(services, shared, servers, arrays)
        self._refuse_failed(services, servers, jobs, arrays)
        return self._run(jobs, servers)

    def _jobs(self) -> NDArray[Any]:
        """Return the records of the requests, after checks of what can never be served."""
        for kind, how in zip(self.kinds, self.planned, strict=True):
            memory = kind.capacity.memory_for(kind.workload.priced)
            longest = rounds_of(kind.workload.priced).longest_draft
            if how.drafts is not None:
                longest = how.drafts.longest_drafts(len(longest))
            refuse([kind.workload], kind.capacity, memory, longest, how.drafts)
            drafts = None if how.drafts is None else how.drafts.policy
            refuse_long_runs([kind.workload], kind.capacity, memory, drafts)
            refuse_large_estimates([how.bound.policy], [kind.workload], kind.capacity)
        return self._jobs_of(self.kinds[0], self.planned[0])

    def _jobs_of(self, kind: ServerSetup, how: PlannedRun) -> NDArray[Any]:
        """Return the records of the requests with the costs of one kind."""
        memory = kind.capacity.memory_for(kind.workload.priced)
        longest = rounds_of(kind.workload.priced).longest_draft
        if how.drafts is not None:
            longest = how.drafts.longest_drafts(len(longest))
        return jobs_of([kind.workload], kind.capacity, memory, longest)

    def _servers(self, jobs: NDArray[Any]) -> tuple[flat.Server, NDArray[Any]]:
        """Return the arrays of all servers, and the records of the servers and of the queue of all
        servers.
        """
        servers = np.zeros(self.count + 1, flat.SERVER)
        tables = no_drafts()
        first = self.planned[0]
        if first.drafts is not None:
            batch = self.kinds[0].capacity.batch
            tables = draft_tables(first.drafts, self.workload.priced, batch, jobs)
        arrays, starts = self._tables(jobs, tables)
        of_record = np.append(self.costs, 0)
        for place, (kind, how) in enumerate(zip(self.kinds, self.planned, strict=True)):
            mine = np.flatnonzero(of_record == place)
            memory = kind.capacity.memory_for(kind.workload.priced)
            fields = capacity_fields(kind.workload.priced, kind.capacity, memory) | starts[place]
            if how.drafts is not None:
                fields |= how.drafts.fields(arrays.drafts)
                at = starts[place]["verify_entry"]
                for name in ("verify_base", "verify_per_token"):
                    fields[f"{name}_address"] += 8 * at
            fields["token_ns"] = kind.context.routing.token_ns
            fields["kv_capacity"] = kind.capacity.kv_tokens or 0
            fields |= self._state(how.bound, jobs)
            for name, value in fields.items():
                servers[name][mine] = value
        for name, values in workload_fields([self.workload]).items():
            servers[name] = values[0]
        servers["released"] = len(self.workload)  # the service releases requests
        servers["number"] = np.arange(self.count + 1)
        servers["costs"] = of_record
        servers["one_queue"] = self.router is None
        reads = frozenset() if self.router is None else self.router.reads
        servers["counts_work"] = bool(reads & {"work_ns", "true_work_ns"})
        servers["inbox_first"] = servers["inbox_last"] = -1
        servers["prefixes_at"] = np.arange(self.count + 1) * (
            len(arrays.prefixes.users) // (self.count + 1)
        )
        servers["requests_at"] = np.arange(self.count + 1) * len(self.workload)
        servers["batch_at"] = np.arange(self.count + 1) * self.kinds[0].capacity.batch
        servers["keys_address"], servers["out_address"] = (
            arrays.keys.ctypes.data,
            arrays.out.ctypes.data,
        )
        servers["jobs_address"] = jobs.ctypes.data
        for k in range(self.count + 1):
            self._fill_policy(servers, k, self.planned[of_record[k]].bound)
        self._fill_draft_states(servers, first.drafts)
        return arrays, servers

    def _state(self, bound: BoundPolicy, jobs: NDArray[Any]) -> dict[str, int]:
        """Make the State that servers of a kind keep of each request."""
        states = bound.compiled.states(bound.policy, jobs.copy())
        self.kept.append(states)
        size = states.itemsize if bound.compiled.state.names else 0
        return {"state_address": states.ctypes.data if size else 0, "state_bytes": size}

    def _fill_policy(self, servers: NDArray[Any], k: int, bound: BoundPolicy) -> None:
        """Fill in how a server calls its policy, whose parameters and arrays may change in a
        run.
        """
        policy = bound.policy
        if type(policy).on_event is not Policy.on_event:
            policy = copy.deepcopy(policy)  # each server has its own
        parameters: Parameters = bound.compiled.parameters(policy)
        self.kept.append(parameters)
        servers["policy"][k] = parameters.address
        for name, value in bound.fields.items():
            servers[name][k] = value

    def _fill_draft_states(self, servers: NDArray[Any], drafts: BoundDrafts | None) -> None:
        """Make the state that the draft policy keeps of each server."""
        if drafts is not None and drafts.state.names:
            states = np.repeat(drafts.new_state(), len(servers))
            self.kept.append(states)
            servers["draft_state_address"] = states.ctypes.data + states.itemsize * np.arange(
                len(servers)
            )

    def _tables(
        self, jobs: NDArray[Any], drafts: flat.DraftTables
    ) -> tuple[flat.Server, list[dict[str, int]]]:
        """Return the arrays of all servers, those of costs one kind after the other, and where the
        part of each kind begins.
        """
        parts = [
            lists_for([how], kind.capacity, jobs)
            for kind, how in zip(self.kinds, self.planned, strict=True)
        ]
        verify = [
            self._verify(kind, how) for kind, how in zip(self.kinds, self.planned, strict=True)
        ]
        starts = [
            {
                name: sum(len(column(parts[p], verify[p])) for p in range(place))
                for name, column in BEGIN.items()
            }
            for place in range(len(parts))
        ]
        first = parts[0]
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (
                "round_base_ns",
                "round_per_token_ns",
                "prefill_at",
                "prefill_tokens",
                "prefill_ns",
            )
        }
        steps = flat.StepTables(
            *[
                np.concatenate(columns)
                for columns in zip(*[part.steps for part in parts], strict=True)
            ]
        )
        if verify[0] is not None:
            at, base, per_token, terms = (
                np.concatenate(columns) for columns in zip(*verify, strict=True)
            )
            drafts = drafts._replace(
                verify_at=at, verify_base=base, verify_per_token=per_token, draft_terms=terms
            )
        each = len(self.workload) * (self.count + 1)
        lists = {name: np.zeros(each, dtype=np.int64) for name in ("waiting", "parked")}
        lists["running"] = np.zeros(self.kinds[0].capacity.batch * (self.count + 1), dtype=np.int64)
        kind = self.kinds[0]
        memory = kind.capacity.memory_for(kind.workload.priced)
        hashes, prefixes = prefix_tables(kind.workload.priced, memory)
        lists["hashes"] = hashes
        empty = [np.zeros(len(part) * (self.count + 1), dtype=np.int64) for part in prefixes]
        arrays = first._replace(
            **joined, **lists, steps=steps, drafts=drafts, prefixes=flat.PrefixTables(*empty)
        )
        return arrays, starts

    @staticmethod
    def _verify(kind: ServerSetup, how: PlannedRun) -> tuple[Ints, ...] | None:
        """Return the costs of verifications of a kind."""
        if how.drafts is None:
            return None
        priced, most = kind.workload.priced, how.drafts.policy.most
        return verify_costs(priced, kind.capacity.batch, most, how.drafts.drafting)

    def _shared(self, jobs: NDArray[Any], servers: NDArray[Any]) -> tuple[NDArray[Any], Shared]:
        """Return the record of the service, and what its servers share."""
        count, requests, routing = self.count, len(self.workload), self.routing
        columns = np.zeros(len(COLUMNS) * count, dtype=np.int64)
        columns[COLUMNS.index("allowed") * count :][:count] = 1
        for name in ("slots", "kv_capacity"):
            at = COLUMNS.index(name) * count
            columns[at : at + count] = servers["batch" if name == "slots" else name][:count]
        record = np.zeros(WORDS, dtype=np.int64)
        record[ROUTE["count"]] = count
        for place, name in enumerate(COLUMNS):
            record[ROUTE[name]] = columns.ctypes.data + 8 * place * count
            record[ROUTE[name] + 1] = count
        sizes = [
            predicted_sizes_ns(kind.workload, kind.context.routing.token_ns) for kind in self.kinds
        ]
        edges = np.zeros(1, dtype=np.int64)
        if routing.guardrails is not None and self.router is not None:
            first = sizes[0]
            edges = edges_of(int(first.min()), int(first.max()), growth(routing.load))
        g = routing.guardrails or 0.0
        spans = np.array([int(g * end) for end in edges[1:].tolist()] or [0], dtype=np.int64)
        ranks = len(edges) - 1
        known = {name: np.full(count, -1) for name in ("first_known", "last_known")}
        known["begin"] = np.zeros(count + 1, dtype=np.int64)
        for name in OF_REQUESTS:
            known[name] = np.zeros(requests if self.sees_active else 1, dtype=np.int64)
        shared = Shared(
            0,
            jobs,
            record,
            columns,
            earliest=_tree_of(count),
            ends_ns=np.zeros(count, dtype=np.int64),
            phase=np.ones(count, dtype=np.int64),
            began_ns=np.zeros(count, dtype=np.int64),
            costs=self.costs,
            prefill_ns=np.concatenate(
                [k.workload.priced.prefill_ns[k.workload.rows] for k in self.kinds]
            ),
            reserved=np.concatenate(
                [
                    self._jobs_of(k, how)["reserved"]
                    for k, how in zip(self.kinds, self.planned, strict=True)
                ]
            ),
            sizes_ns=np.concatenate(sizes),
            true_sizes_ns=np.concatenate([k.workload.size_ns for k in self.kinds]),
            edges=edges,
            spans=spans,
            sent=np.zeros(max(1, ranks) * count, dtype=np.int64),
            active=np.zeros(count, dtype=np.int64),
            **known,
        )
        for name in OF_ACTIVE:
            record[ROUTE[name]] = getattr(shared, name).ctypes.data
        record[ROUTE["begin"] + 1] = count + 1
        services = np.zeros(1, SERVICE)
        fields: dict[str, int] = {
            "servers": count,
            "requests": requests,
            "released": workload_fields([self.workload])["released"][0],
            "think_ns": self.workload.think_ns,
            "one_queue": self.router is None,
            "record_address": record.ctypes.data,
            "ranks": ranks,
        }
        if self.router is not None:
            fields |= self._router_fields(record)
        for name, value in fields.items():
            services[name] = value
        return services, shared

    def _router_fields(self, record: Ints) -> dict[str, int]:
        """Return the fields of the service's record that say how to call the router."""
        assert self.router is not None
        router = self.router.policy
        random = random_numbers(self.workload, router.draws)
        state = self.router.new_state()
        self.kept += [random, state]
        record[ROUTE["random"] + 1] = router.draws
        record[ROUTE["state"]] = state.ctypes.data if self.router.state.names else 0
        return {
            "route": self.router.address,
            "router": self.router.parameters.address,
            "draws": router.draws,
            "random_address": random.ctypes.data,
            "report_ns": self.routing.report_ns(router),
            "sees_truth": bool(router.clairvoyant),
            "sees_kv_tokens": "kv_tokens" in self.router.reads,
            "sees_caches": bool(self.router.reads & {"cached_tokens", "filled_tokens"}),
            "sees_active": self.sees_active,
        }

    @property
    def sees_active(self) -> bool:
        """Whether the router reads what it may know of active requests."""
        return self.router is not None and bool(self.router.reads & {*OF_ACTIVE})

    def _refuse_failed(
        self, services: NDArray[Any], servers: NDArray[Any], jobs: NDArray[Any], arrays: flat.Server
    ) -> None:
        """Raise the error that ended the run."""
        if services["error"][0] == NO_EVENT:
            left = len(jobs) - int(services["done"][0])
            raise ValueError(
                f"no progress: {left} requests are not done, and no server decides any more"
            )
        if services["error"][0] and self.router is not None:
            raise explain_router(
                self.router, int(services["record_address"][0]), int(services["error_ns"][0])
            )
        for k in np.flatnonzero(servers["error"])[:1].tolist():
            how = self.planned[int(servers["costs"][k])]
            if servers[k]["error_method"] == flat.CHOOSE and how.drafts is not None:
                raise explain_drafts(how.drafts, arrays.drafts, int(servers[k]["error_ns"]))
            raise error_of(how.bound.policy, servers[k], jobs)

    def _run(self, jobs: NDArray[Any], servers: NDArray[Any]) -> Run:
        """Return what happened to the requests."""
        columns = {
            name: np.ascontiguousarray(jobs[name]) for name in OF_RUN if name != "service_ns"
        }
        end_ns = int(jobs["finish_ns"].max())
        idle = servers["idle_ns"] + end_ns - servers["now_ns"]
        idle_by_server = tuple(idle[: self.count].tolist())
        return Run(
            np.ascontiguousarray(jobs["arrival_ns"]),
            **columns,
            service_ns=jobs["prefill_ns"] + jobs["service_ns"],
            rounds=int(servers["rounds"][: self.count].sum()),
            idle_ns=sum(idle_by_server),
            end_ns=end_ns,
            policy=self.planned[0].bound.policy,
            server=np.ascontiguousarray(jobs["server"]),
            idle_by_server_ns=idle_by_server,
        )


def _tree_of(count: int) -> NDArray[np.int64]:
    """Return `Shared.earliest` of servers that all decide at time 0."""
    tree = np.arange(-count, count)
    for node in range(count - 1, 0, -1):
        tree[node] = min(tree[2 * node], tree[2 * node + 1])
    return tree


OF_REQUESTS = ("next_known", "known_tokens", "known_prefill_ns", "known_runs", *OF_ACTIVE[1:])
"""The arrays of `Shared` with an entry for each request, where the router sees active ones."""
BEGIN: dict[str, Any] = {
    "rounds_at": lambda part, verify: part.round_base_ns,
    "prefill_row": lambda part, verify: part.prefill_at,
    "prefill_entry": lambda part, verify: part.prefill_tokens,
    "step_sizes": lambda part, verify: part.steps.sizes,
    "step_row": lambda part, verify: part.steps.base_at,
    "step_base": lambda part, verify: part.steps.base_tokens,
    "step_context": lambda part, verify: part.steps.context_tokens,
    "step_draft": lambda part, verify: part.steps.draft_base_ns,
    "verify_row": lambda part, verify: verify[0] if verify else (),
    "verify_entry": lambda part, verify: verify[1] if verify else (),
    "draft_terms": lambda part, verify: verify[3] if verify else (),
}
"""The arrays whose lengths say where the part of the next kind begins."""
