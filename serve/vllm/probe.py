"""Calibration steps between the steps of a live run, in the same engine.

Both kinds of steps run on the same machine at the same time, so that they slow down together. Each
calibration plan has its own scheduler state. For a few steps at a time the state of the live run is
suspended, its clock is stopped, and the state of a calibration plan is resumed. Several steps run
per switch, because the model runner needs extra time to add resumed requests, which is not part of
an ordinary step.
"""

from collections.abc import Callable, Sequence
from typing import Any

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record

EVERY, BURST = 25, 5  # BURST calibration steps run after every EVERY live steps
LEAST = 60  # minimum number of steps of each calibration plan per run


class Probe:
    """Runs calibration plans in turn, each repeatedly, between the steps of a live run.

    Parameters
    ----------
    engine : vLLM's engine in this process, with a `RecordingScheduler` and no requests.
    begin : makes the scheduler start a run of a plan.
    add : adds the request of a plan with this index, and this prefix of its id.
    """

    def __init__(
        self,
        engine: Any,
        plans: Sequence[Plan],
        begin: Callable[[Plan], None],
        add: Callable[[Plan, int, str], None],
    ) -> None:
        self._engine, self._scheduler = engine, engine.engine_core.engine_core.scheduler
        self._plans, self._add, self._states = plans, add, list[dict[str, Any]]()
        self._due, self._turn, self._cycles, self._latest_ns = 0, 0, 0, 0
        for plan in plans:
            begin(plan)
            self._scheduler.clock.time.stop()
            self._states.append(self._scheduler.suspend())

    def after_step(self, clock: Any) -> None:
        """Count a live step; after every `EVERY` of them, run `BURST` calibration steps.

        The clock of the live run is stopped meanwhile.
        """
        self._due += 1
        if self._plans and self._due == EVERY:
            self._due = 0
            clock.time.stop()
            self._burst(clock.boundary_ns)
            clock.time.go()
            self._latest_ns = clock.boundary_ns

    def finish(self) -> tuple[Record, ...]:
        """Return the record of each plan, after further steps if there are fewer than `LEAST`."""
        while any(len(state["steps"]) < LEAST for state in self._states):
            self._burst(self._latest_ns)
        return tuple(
            Record("vllm", plan.policy, state["steps"], [], 0, 0, complete=False)
            for plan, state in zip(self._plans, self._states, strict=True)
        )

    def close(self) -> None:
        """Abort all calibration requests."""
        live = self._scheduler.suspend()
        for state in self._states:
            self._scheduler.resume(state)
            self._engine.abort_request(list(self._scheduler.decisions.jobs), internal=True)
        self._scheduler.resume(live)

    def _burst(self, at_ns: int) -> None:
        """Run some steps of the next plan, recorded at an instant of the live run.

        A plan whose requests have all finished starts again.
        """
        turn = self._turn
        self._turn = (turn + 1) % len(self._plans)
        live = self._scheduler.suspend()
        self._scheduler.resume(self._states[turn])
        try:
            self._scheduler.clock.time.go()
            for _ in range(BURST):
                if not self._scheduler.get_num_unfinished_requests():
                    self._cycles += 1
                    for i in range(len(self._plans[turn].requests)):
                        self._add(self._plans[turn], i, f"calibration-{self._cycles}-")
                self._engine.step()
                self._scheduler.steps[-1] = self._scheduler.steps[-1].moved_to(at_ns)
            self._scheduler.clock.time.stop()
        finally:
            self._states[turn] = self._scheduler.suspend()
            self._scheduler.resume(live)
