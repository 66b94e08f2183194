"""Calibration steps between the steps of a live run, in the same engine: the same machine in the
same moments.

The requests of each calibration plan have a book of their own in the scheduler, which is opened for
a few steps at a time while the live run's is put by, and its clock stands. A few, since who comes
back costs the model runner what is no part of an ordinary step.
"""

from collections.abc import Callable, Sequence
from typing import Any

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record

EVERY, BURST = 25, 5  # steps of the live run for so many of calibration
LEAST = 60  # steps of each calibration plan beside a run


class Probe:
    """Calibration plans, each served again and again.

    Parameters
    ----------
    engine : vLLM's, in this process, with a `RecordingScheduler`, and nobody in it.
    begin : has the scheduler begin a run of a plan.
    add : adds a plan's request by its index, under a prefix of its name.
    """

    def __init__(
        self,
        engine: Any,
        plans: Sequence[Plan],
        begin: Callable[[Plan], None],
        add: Callable[[Plan, int, str], None],
    ) -> None:
        self._engine, self._scheduler = engine, engine.engine_core.engine_core.scheduler
        self._plans, self._add, self._books = plans, add, list[dict[str, Any]]()
        self._due, self._turn, self._cycles, self._latest_ns = 0, 0, 0, 0
        for plan in plans:
            begin(plan)
            self._scheduler.clock.time.stop()
            self._books.append(self._scheduler.put_by())

    def after_step(self, clock: Any) -> None:
        """A live step is over: after so many of them some of calibration, while the run's clock
        stands.
        """
        self._due += 1
        if self._plans and self._due == EVERY:
            self._due = 0
            clock.time.stop()
            self._burst(clock.boundary_ns)
            clock.time.go()
            self._latest_ns = clock.boundary_ns

    def finish(self) -> tuple[Record, ...]:
        """All steps of each plan, after some more where the run was short."""
        while any(len(book["steps"]) < LEAST for book in self._books):
            self._burst(self._latest_ns)
        return tuple(
            Record("vllm", plan.policy, book["steps"], [], 0, 0, complete=False)
            for plan, book in zip(self._plans, self._books, strict=True)
        )

    def close(self) -> None:
        """Take everybody out of the engine."""
        mine = self._scheduler.put_by()
        for book in self._books:
            self._scheduler.take_up(book)
            self._engine.abort_request(list(self._scheduler.decisions.jobs), internal=True)
        self._scheduler.take_up(mine)

    def _burst(self, at_ns: int) -> None:
        """Some steps of the plan whose turn it is, at an instant of the run; one that is done
        begins again.
        """
        turn = self._turn
        self._turn = (turn + 1) % len(self._plans)
        mine = self._scheduler.put_by()
        self._scheduler.take_up(self._books[turn])
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
            self._books[turn] = self._scheduler.put_by()
            self._scheduler.take_up(mine)
