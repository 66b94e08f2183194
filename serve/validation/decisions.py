"""Replay of a live run: given its durations and acceptance, the simulator must reproduce it.

Compared are every decision (its time, the running requests in order, their draft lengths, the KV
transfers) and every time of every request. The first decision that differs is reported.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lapsd.serve.plan import Plan
from lapsd.serve.record import KVTransfer, Record, Step
from lapsd.serve.validation.recorded import trace_of
from lapsd.serve.validation.simulated import run_of, server_of
from lapsd.sim.engine import Run
from lapsd.sim.engine.memory import Transfer
from lapsd.sim.engine.request import Request
from lapsd.traces import Profile, price


class Divergence(ValueError):
    """The simulator differs from the live run; the message names the decision."""


class Durations:
    """Durations of the KV transfers and rounds of a live run, step by step.

    Raises `Divergence` where the simulated server does not do the same as the live one.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps, self._at, self._transferred = steps, 0, 0

    def round_ns(self, now_ns: int, running: Sequence[Request]) -> int:
        """Return the round time of the current step, after comparing its decision."""
        step, here = self._step(now_ns), f"decision {self._at} at {now_ns} ns"
        if now_ns != step.start_ns:
            raise Divergence(f"{here}: the live run decided at {step.start_ns} ns")
        indices = [request.index for request in running]
        if indices != list(step.running):
            raise Divergence(
                f"{here}: the live run served {list(step.running)}, the simulator serves {indices}"
            )
        scheduled = [request.next_drafted + 1 for request in running]
        if scheduled != list(step.scheduled):
            raise Divergence(
                f"{here}: the live run verified {list(step.scheduled)} tokens, the simulator"
                f" {scheduled}"
            )
        if self._transferred != len(step.transfers):
            raise Divergence(
                f"{here}: the live run did {len(step.transfers)} KV transfers, the simulator"
                f" {self._transferred}"
            )
        self._at, self._transferred = self._at + 1, 0
        return step.round_ns

    def _step(self, now_ns: int) -> Step:
        if self.over:
            raise Divergence(f"decision {self._at} at {now_ns} ns: the live run had ended")
        return self._steps[self._at]

    def transfer_ns(self, kind: str) -> int:
        """Return the time of the next KV transfer of the current step."""
        return self._next(kind).ns

    def on_transfer(self, transfer: Transfer) -> None:
        """Compare the request of the KV transfer whose time was just returned."""
        live = self._next(transfer.kind)
        if live.request != transfer.request.index:
            raise Divergence(
                self._transfer_message(
                    transfer.kind,
                    f"does it for request {live.request}, not {transfer.request.index}",
                )
            )
        self._transferred += 1

    def _next(self, kind: str) -> KVTransfer:
        if self.over:
            raise Divergence(self._transfer_message(kind, "had ended"))
        transfers = self._steps[self._at].transfers
        if self._transferred == len(transfers):
            raise Divergence(self._transfer_message(kind, "does none"))
        if (live := transfers[self._transferred]).kind != kind:
            raise Divergence(self._transfer_message(kind, f"does a {live.kind}"))
        return live

    def _transfer_message(self, kind: str, live: str) -> str:
        return (
            f"decision {self._at}, KV transfer {self._transferred}: the simulator does a {kind};"
            f" the live run {live}"
        )

    @property
    def over(self) -> bool:
        """Whether all steps of the live run have been used."""
        return self._at == len(self._steps)


def replay(plan: Plan, record: Record) -> Run:
    """Return the simulator's run of a plan with the durations of a live run.

    Raises
    ------
    Divergence
        If a decision or a time of a request differs; the message names the first one.
    ValueError
        If the live run was interrupted.
    """
    durations = Durations(record.steps)
    unused = Profile.constant(draft_ms=0, verify_ms=1)  # all times come from the live run
    rounds = dict.fromkeys((1, plan.batch), unused.costs.rounds[1])
    priced = price(
        trace_of(plan, record), replace(unused, costs=replace(unused.costs, rounds=rounds))
    )
    prefill_ns = [result.prefill_ns for result in record.by_index.values()]
    priced = replace(priced, prefill_ns=np.array(prefill_ns, dtype=np.int64))
    server = server_of(plan, record, priced, durations.round_ns)
    memory, back = server.memory, server.memory.eviction.back
    memory.eviction = replace(
        memory.eviction,
        out_ns=lambda tokens: durations.transfer_ns("swap out"),
        back_ns=lambda tokens: durations.transfer_ns(back),
    )
    memory.on_transfer = durations.on_transfer
    run = run_of(server)
    if not durations.over:
        raise Divergence(f"the simulator ends at {run.end_ns} ns, before the live run")
    _compare(run, record)
    return run


COMPARED = ("first_service_ns", "finish_ns", "switch_ns", "preemptions")


def _compare(run: Run, record: Record) -> None:
    """Compare every time of every request, and the idle and end times of the server."""
    for index, live in record.by_index.items():
        simulated = {name: int(getattr(run, name)[index]) for name in COMPARED}
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
