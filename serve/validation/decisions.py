"""Decisions: fed with a live run's own durations and acceptance, the simulator must give back that run.

Every decision (the instant, who runs, in which order, whose cache moves) and every time of every request, exactly. Where
it would do something else, that decision is named.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import simpy

from serve.plan import Plan
from serve.record import Moved, Record, Step
from serve.validation.recorded import trace_of
from sim.engine import Capacity, Run
from sim.engine.memory import Eviction, Move
from sim.engine.recorded import recorded_rows
from sim.engine.request import Request
from sim.engine.run_record import RunRecord
from sim.engine.servers.step import StepServer
from traces import Profile, Workload, price


class Divergence(ValueError):
    """The simulator does something else than the live run did; the message names the decision."""


class Durations:
    """What a live run's moves and rounds took, handed out step by step to a server that must do the same."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps, self._at, self._moved = steps, 0, 0

    def round_ns(self, now_ns: int, running: Sequence[Request]) -> int:
        """Of the present step, whose decision is held to the live one."""
        step, here = self._step(now_ns), f"decision {self._at} at {now_ns} ns"
        if now_ns != step.start_ns:
            raise Divergence(f"{here}: the live run took it at {step.start_ns} ns")
        indices = [request.index for request in running]
        if indices != list(step.running):
            raise Divergence(f"{here}: the live run served {list(step.running)}, the simulator serves {indices}")
        if self._moved != len(step.moves):
            raise Divergence(f"{here}: the live run moved {len(step.moves)} caches, the simulator {self._moved}")
        self._at, self._moved = self._at + 1, 0
        return step.round_ns

    def _step(self, now_ns: int) -> Step:
        if self._at == len(self._steps):
            raise Divergence(f"decision {self._at} at {now_ns} ns: the live run was over")
        return self._steps[self._at]

    def move_ns(self, kind: str) -> int:
        """Of the present step's next move."""
        return self._next(kind).ns

    def moved(self, move: Move) -> None:
        """The move that was just asked for is that of this request."""
        live = self._next(move.kind)
        if live.request != move.request.index:
            raise Divergence(self._other(move.kind, f"request {live.request}, the simulator {move.request.index}"))
        self._moved += 1

    def _next(self, kind: str) -> Moved:
        moves = self._steps[self._at].moves if self._at < len(self._steps) else ()
        if self._moved == len(moves):
            raise Divergence(self._other(kind, "nothing more"))
        if (live := moves[self._moved]).kind != kind:
            raise Divergence(self._other(kind, live.kind))
        return live

    def _other(self, kind: str, live: str) -> str:
        return f"decision {self._at}, move {self._moved}: the simulator does a {kind}; the live run: {live}"

    @property
    def over(self) -> bool:
        """Whether all of the live run was handed out."""
        return self._at == len(self._steps)


def replay(plan: Plan, record: Record) -> Run:
    """The simulator's run of a plan, fed with a live run's durations.

    Raises
    ------
    Divergence
        Naming the first decision, or the first request, that differs.
    ValueError
        If the live run was interrupted.
    """
    workload, durations = _workload(plan, record), Durations(record.steps)
    capacity = Capacity(plan.batch, plan.kv_slots, plan.kv_tokens, plan.evict)
    memory = capacity.memory(workload.priced.profile.costs)
    back = memory.eviction.back
    memory.eviction = Eviction(lambda t: durations.move_ns("swap out"), lambda t: durations.move_ns(back), back)
    memory.moved = durations.moved
    env, run_record, policy = simpy.Environment(), RunRecord(len(workload)), plan.bound_policy()
    server = StepServer(
        env, workload, recorded_rows(workload), policy, capacity, memory, run_record, measured=durations.round_ns
    )
    env.run(env.process(server.serve()))
    run = run_record.run(workload.arrival_ns, int(env.now), policy)
    if not durations.over:
        raise Divergence(f"the simulator is done at {run.end_ns} ns, the live run was not")
    _hold(run, record)
    return run


def _workload(plan: Plan, record: Record) -> Workload:
    """The live run's requests as it found them: their acceptance, and what their prompts took."""
    trace = trace_of(plan, record)
    free = Profile.constant(draft_ms=0, verify_ms=1)
    terms = free.costs.rounds[1]
    priced = price(trace, replace(free, costs=replace(free.costs, rounds={1: terms, plan.batch: terms})))
    by_index = record.by_index.values()
    priced = replace(priced, prefill_ns=np.array([s.prefill_ns for s in by_index], dtype=np.int64))
    told = np.array([(r.arrival_ns, r.predicted_tokens) for r in plan.requests], dtype=np.int64)
    return Workload(priced, np.arange(len(trace)), told[:, 0], told[:, 1])


HELD = ("first_service_ns", "finish_ns", "switch_ns", "preemptions")


def _hold(run: Run, record: Record) -> None:
    """Every time of every request, and the server's own."""
    for index, live in record.by_index.items():
        simulated = {name: int(getattr(run, name)[index]) for name in HELD}
        simulated["service_ns"] = int(run.service_ns[index]) - live.prefill_ns
        for name, value in simulated.items():
            if value != getattr(live, name):
                raise Divergence(f"request {index}: {name} is {getattr(live, name)} live, {value} in the simulator")
    for name in ("idle_ns", "end_ns"):
        if getattr(run, name) != getattr(record, name):
            raise Divergence(f"{name} is {getattr(record, name)} live, {getattr(run, name)} in the simulator")
