"""Calibration rounds between the rounds of a live run: the same machine in the same moments, off
the run's clock.

What they take on average is what live rounds take on average, however fast the machine happens to
be.
"""

from collections.abc import Callable, Sequence

from lapsd.serve.own.server import Server
from lapsd.serve.record import Record, Step

EVERY = 5  # steps of the live run for one of calibration
LEAST = 60  # steps of each calibration plan beside a run


class Probe:
    """Calibration plans, each served again and again by a server of its own, a step of one at a
    time.

    Parameters
    ----------
    make : functions, each of which makes a plan's server anew.
    """

    def __init__(self, make: Sequence[Callable[[], Server]]) -> None:
        self._make = make
        self._servers = [self._begun(i) for i in range(len(make))]
        self._steps: list[list[Step]] = [[] for _ in make]
        self._turn, self._due, self._latest_ns = 0, 0, 0

    def __call__(self, live: Server) -> None:
        """A live step is over: after so many of them, one of calibration while the run's clock
        stands.
        """
        self._due += 1
        if self._due == EVERY:
            self._due = 0
            live.clock.stop()
            self._step(live.now_ns)
            live.clock.go()
            self._latest_ns = live.now_ns

    def finish(self) -> tuple[Record, ...]:
        """All steps of each plan, after some more where the run was short."""
        while min(map(len, self._steps)) < LEAST:
            self._step(self._latest_ns)
        return tuple(
            Record("own", server.plan.policy, steps, [], 0, 0, complete=False)
            for server, steps in zip(self._servers, self._steps, strict=True)
        )

    def _step(self, at_ns: int) -> None:
        """A step of the plan whose turn it is, at an instant of the run; one that is done begins
        again.
        """
        turn = self._turn
        self._turn = (turn + 1) % len(self._servers)
        server = self._servers[turn]
        server.clock.go()
        server.step()
        server.clock.stop()
        self._steps[turn].append(server.steps[-1].moved_to(at_ns))
        if server.done:
            self._servers[turn] = self._begun(turn)

    def _begun(self, i: int) -> Server:
        server = self._make[i]()
        server.begin()
        server.clock.stop()
        return server
