"""Decisions: fed with a live run's own durations and acceptance, the simulator must give back that
run.

Every decision (the instant, who runs, in which order, whose cache moves) and every time of every
request, exactly. Where it would do something else, that decision is named.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lapsd.serve.plan import Plan
from lapsd.serve.record import KVTransfer, Record, Step
from lapsd.serve.validation.recorded import trace_of
from lapsd.serve.validation.simulated import run_of, server_of
from lapsd.sim.engine import Run
from lapsd.sim.engine.memory import Move
from lapsd.sim.engine.request import Request
from lapsd.traces import Profile, price


class Divergence(ValueError):
    """The simulator does something else than the live run did; the message names the decision."""


class Durations:
    """What a live run's moves and rounds took, handed out step by step to a server that must do the
    same.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps, self._at, self._moved = steps, 0, 0

    def round_ns(self, now_ns: int, running: Sequence[Request]) -> int:
        """Of the present step, whose decision is held to the live one."""
        step, here = self._step(now_ns), f"decision {self._at} at {now_ns} ns"
        if now_ns != step.start_ns:
            raise Divergence(f"{here}: the live run took it at {step.start_ns} ns")
        indices = [request.index for request in running]
        if indices != list(step.running):
            raise Divergence(
                f"{here}: the live run served {list(step.running)}, the simulator serves {indices}"
            )
        if self._moved != len(step.moves):
            raise Divergence(
                f"{here}: the live run moved {len(step.moves)} caches, the simulator {self._moved}"
            )
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
            raise Divergence(
                self._other(
                    move.kind, f"request {live.request}, the simulator {move.request.index}"
                )
            )
        self._moved += 1

    def _next(self, kind: str) -> KVTransfer:
        moves = self._steps[self._at].moves if self._at < len(self._steps) else ()
        if self._moved == len(moves):
            raise Divergence(self._other(kind, "nothing more"))
        if (live := moves[self._moved]).kind != kind:
            raise Divergence(self._other(kind, live.kind))
        return live

    def _other(self, kind: str, live: str) -> str:
        return (
            f"decision {self._at}, move {self._moved}: the simulator does a {kind}; the live run:"
            f" {live}"
        )

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
    durations = Durations(record.steps)
    planned = Profile.constant(draft_ms=0, verify_ms=1)  # by nobody
    rounds = dict.fromkeys((1, plan.batch), planned.costs.rounds[1])
    priced = price(
        trace_of(plan, record), replace(planned, costs=replace(planned.costs, rounds=rounds))
    )
    prefill_ns = [served.prefill_ns for served in record.by_index.values()]
    priced = replace(priced, prefill_ns=np.array(prefill_ns, dtype=np.int64))
    server = server_of(plan, record, priced, durations.round_ns)
    memory, back = server.memory, server.memory.eviction.back
    memory.eviction = replace(
        memory.eviction,
        out_ns=lambda tokens: durations.move_ns("swap out"),
        back_ns=lambda tokens: durations.move_ns(back),
    )
    memory.moved = durations.moved
    run = run_of(server)
    if not durations.over:
        raise Divergence(f"the simulator is done at {run.end_ns} ns, the live run was not")
    _hold(run, record)
    return run


HELD = ("first_service_ns", "finish_ns", "switch_ns", "preemptions")


def _hold(run: Run, record: Record) -> None:
    """Every time of every request, and the server's own."""
    for index, live in record.by_index.items():
        simulated = {name: int(getattr(run, name)[index]) for name in HELD}
        simulated["service_ns"] = int(run.service_ns[index]) - live.prefill_ns
        for name, value in simulated.items():
            if value != getattr(live, name):
                raise Divergence(
                    f"request {index}: {name} is {getattr(live, name)} live, {value} in the"
                    " simulator"
                )
    for name in ("idle_ns", "end_ns"):
        if getattr(run, name) != getattr(record, name):
            raise Divergence(
                f"{name} is {getattr(record, name)} live, {getattr(run, name)} in the simulator"
            )
