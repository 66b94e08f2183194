"""Calibration rounds between the rounds of a live run, while the clock of the run is stopped.

Both kinds of rounds run on the same machine at the same time. A machine that slows down slows both,
so the mean time of calibration rounds predicts the mean time of live rounds.
"""

from collections.abc import Callable, Sequence

from lapsd.serve.own.server import Server
from lapsd.serve.record import Record, Step

EVERY = 5  # live steps per calibration step
LEAST = 60  # minimum number of steps of each calibration plan per run


class Probe:
    """Runs one step of a calibration plan at a time, between the steps of a live run.

    The plans take turns. Each has its own server and is served repeatedly.

    Parameters
    ----------
    make : one function per plan, which returns a new server of the plan.
    """

    def __init__(self, make: Sequence[Callable[[], Server]]) -> None:
        self._make = make
        self._servers = [self._started(i) for i in range(len(make))]
        self._steps: list[list[Step]] = [[] for _ in make]
        self._turn, self._due, self._latest_ns = 0, 0, 0

    def __call__(self, live: Server) -> None:
        """Count a live step; after every `EVERY` of them, run one calibration step.

        The clock of the live run is stopped meanwhile.
        """
        self._due += 1
        if self._due == EVERY:
            self._due = 0
            live.clock.stop()
            self._step(live.now_ns)
            live.clock.go()
            self._latest_ns = live.now_ns

    def finish(self) -> tuple[Record, ...]:
        """Return the record of each plan, after further steps if there are fewer than `LEAST`."""
        while min(map(len, self._steps)) < LEAST:
            self._step(self._latest_ns)
        return tuple(
            Record("own", server.plan.policy, steps, [], 0, 0, complete=False)
            for server, steps in zip(self._servers, self._steps, strict=True)
        )

    def _step(self, at_ns: int) -> None:
        """Run a step of the next plan, recorded at an instant of the live run.

        A plan whose requests have all finished starts again.
        """
        turn = self._turn
        self._turn = (turn + 1) % len(self._servers)
        server = self._servers[turn]
        server.clock.go()
        server.step()
        server.clock.stop()
        self._steps[turn].append(server.steps[-1].moved_to(at_ns))
        if server.done:
            self._servers[turn] = self._started(turn)

    def _started(self, i: int) -> Server:
        server = self._make[i]()
        server.begin()
        server.clock.stop()
        return server
