"""What happened to each request: columns that a server fills as requests finish, and the run made of them."""

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies import Policy
from sim.engine.request import Request

COLUMNS = ("first_service_ns", "finish_ns", "service_ns", "switch_ns", "preemptions")


@dataclass(frozen=True, eq=False)
class Run:
    """What happened to each request, arrays by index, all int64 (N,), and the server's own rounds and time.

    `service_ns` is prefill and rounds; `switch_ns` the moves of the request's own KV cache; `rounds` those that the
    server ran, of one request or several.
    """

    arrival_ns: NDArray[np.int64]
    first_service_ns: NDArray[np.int64]
    finish_ns: NDArray[np.int64]
    service_ns: NDArray[np.int64]
    switch_ns: NDArray[np.int64]
    preemptions: NDArray[np.int64]
    rounds: int
    idle_ns: int
    end_ns: int
    policy: Policy

    @property
    def latency_ns(self) -> NDArray[np.int64]:
        """Finish minus arrival."""
        return self.finish_ns - self.arrival_ns


class RunRecord:
    """A run as it goes on: who is done, and the server's own rounds and idle time."""

    def __init__(self, requests: int) -> None:
        self.first_service_ns, self.finish_ns, self.service_ns, self.switch_ns, self.preemptions = (
            array("q", bytes(8 * requests)) for _ in COLUMNS
        )
        self.requests = requests
        self.done = 0
        self.rounds = 0
        self.idle_ns = 0

    def close(self, request: Request, now_ns: int) -> None:
        """A request is done."""
        index = request.index
        self.first_service_ns[index] = request.first_service_ns
        self.finish_ns[index] = now_ns
        self.service_ns[index] = request.prefill_ns + request.service_ns
        self.switch_ns[index] = request.switch_ns
        self.preemptions[index] = request.preemptions
        self.done += 1

    def run(self, arrival_ns: NDArray[np.int64], end_ns: int, policy: Policy) -> Run:
        """The finished run."""
        columns = {name: np.frombuffer(getattr(self, name), dtype=np.int64) for name in COLUMNS}
        return Run(arrival_ns, **columns, rounds=self.rounds, idle_ns=self.idle_ns, end_ns=end_ns, policy=policy)
