"""Results of a run: the times of each request, as a server records them when requests finish."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

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

    Of several servers, `rounds` and `idle_ns` are totals, `idle_by_server_ns` holds the idle time
    of each, and `server` the number of each request's server; with one they are () and None.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.policies import FCFS
    >>> prepared = lapsd.PreparedScenario.of(
    ...     "reference", "reference", requests=20, load=0.9
    ... )
    >>> done = lapsd.run(prepared, FCFS(), seed=0)
    >>> len(done.latency_ns), int(done.preemptions.sum())
    (20, 0)
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
    server: NDArray[np.int64] | None = field(default=None, kw_only=True)
    idle_by_server_ns: tuple[int, ...] = field(default=(), kw_only=True)

    @property
    def servers(self) -> int:
        """Number of servers."""
        return max(1, len(self.idle_by_server_ns))

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
        return run_of([self], arrival_ns, end_ns, policy)


def run_of(
    records: "Sequence[RunRecord]", arrival_ns: NDArray[np.int64], end_ns: int, policy: Policy
) -> Run:
    """Return a finished run of one server or several, each with a record of its own."""
    content = b"".join([record._rows for record in records])
    rows = np.frombuffer(content, dtype=np.int64).reshape(-1, 1 + len(COLUMNS))
    by_index = np.empty((len(COLUMNS), len(arrival_ns)), dtype=np.int64)
    by_index[:, rows[:, 0]] = rows[:, 1:].T
    columns: dict[str, Any] = dict(zip(COLUMNS, by_index, strict=True))
    return Run(
        arrival_ns,
        **columns,
        rounds=sum(record.rounds for record in records),
        idle_ns=sum(record.idle_ns for record in records),
        end_ns=end_ns,
        policy=policy,
    )
