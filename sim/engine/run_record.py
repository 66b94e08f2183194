"""Results of a run: the times of each request, as a server records them when requests finish."""

from dataclasses import dataclass
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import Policy
from lapsd.sim.engine.request import Request

COLUMNS = (
    "first_service_ns",
    "first_token_ns",
    "finish_ns",
    "service_ns",
    "switch_ns",
    "preemptions",
    "drafted",
    "accepted",
    "first_tokens",
    "cached_tokens",
)
_pack = Struct(f"{1 + len(COLUMNS)}q").pack


@dataclass(frozen=True, eq=False)
class Run:
    """Times of each request, arrays by index, all int64 (N,), and of the server.

    `first_token_ns` is the end of the first round; `service_ns` is the time of prefill and rounds;
    `switch_ns` is the time of the transfers of the request's KV cache; `drafted` and `accepted` are
    draft tokens, `first_tokens` the output tokens of the first round, `cached_tokens` the tokens of
    the prompt that were cached when the request started; `rounds` is the number of
    rounds or steps that the server ran, each of one request or several.
    """

    arrival_ns: NDArray[np.int64]
    first_service_ns: NDArray[np.int64]
    first_token_ns: NDArray[np.int64]
    finish_ns: NDArray[np.int64]
    service_ns: NDArray[np.int64]
    switch_ns: NDArray[np.int64]
    preemptions: NDArray[np.int64]
    drafted: NDArray[np.int64]
    accepted: NDArray[np.int64]
    first_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64]
    rounds: int
    idle_ns: int
    end_ns: int
    policy: Policy

    @property
    def latency_ns(self) -> NDArray[np.int64]:
        """Finish minus arrival."""
        return self.finish_ns - self.arrival_ns


class RunRecord:
    """The finished requests of a run that goes on, and the server's rounds and idle time."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self.done = 0
        self.rounds = 0
        self.idle_ns = 0
        # index and `COLUMNS` of each finished request; tuples would take far more memory
        self._rows = bytearray()

    def close(self, request: Request, now_ns: int) -> None:
        """Record a finished request."""
        self._rows += _pack(
            request.index,
            request.first_service_ns,
            request.first_token_ns,
            now_ns,
            request.prefill_ns + request.service_ns,
            request.switch_ns,
            request.preemptions,
            request.drafted,
            request.accepted,
            request.recorded.emitted[0],
            request.cached_tokens,
        )
        self.done += 1

    def run(self, arrival_ns: NDArray[np.int64], end_ns: int, policy: Policy) -> Run:
        """Return the finished run."""
        rows = np.frombuffer(self._rows, dtype=np.int64).reshape(-1, 1 + len(COLUMNS))
        by_index = np.empty((len(COLUMNS), self.requests), dtype=np.int64)
        by_index[:, rows[:, 0]] = rows[:, 1:].T
        columns = dict(zip(COLUMNS, by_index, strict=True))
        return Run(
            arrival_ns,
            **columns,
            rounds=self.rounds,
            idle_ns=self.idle_ns,
            end_ns=end_ns,
            policy=policy,
        )
