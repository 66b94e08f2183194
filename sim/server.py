"""The server: requests of a workload served one at a time under a policy, round by round, on SimPy's clock.

The order of things at one instant, and what each decision commits, is `docs/simulator.md`. This is the slow
and obvious form: every waiting request is ranked again at every round boundary. Knows nothing of any
particular policy, of randomness, or of floats: time is integer nanoseconds.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from policies import Outlook, Policy
from traces import PricedTrace, Workload


@dataclass(slots=True, eq=False)
class Request:
    """A request in the server: the `policies.Job` that policies see, and the server's own books."""

    index: int
    arrival_ns: int
    prompt_tokens: int
    predicted_tokens: int
    # the recorded rounds: cost, tokens emitted, and running totals of drafted and accepted with a leading 0
    round_ns: list[int]
    emitted: list[int]
    drafted_sums: list[int]
    accepted_sums: list[int]
    prefill_ns: int

    started: bool = False
    rounds: int = 0
    tokens: int = 0
    service_ns: int = 0
    queue: int = 1
    memo: Any = None

    entered_ns: int = 0
    swapped_out: bool = False
    first_service_ns: int = -1
    finish_ns: int = -1
    switch_ns: int = 0
    preemptions: int = 0

    @property
    def drafted(self) -> int:
        return self.drafted_sums[self.rounds]

    @property
    def accepted(self) -> int:
        return self.accepted_sums[self.rounds]

    def acceptance(self, rounds: int) -> float:
        assert 0 <= rounds <= self.rounds, "a policy may look at committed rounds only"
        drafted = self.drafted_sums[rounds]
        return self.accepted_sums[rounds] / drafted if drafted else 0.0

    @property
    def done(self) -> bool:
        return self.rounds == len(self.round_ns)

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values the request holds."""
        return self.prompt_tokens + self.tokens


@dataclass(frozen=True, eq=False)
class Run:
    """What happened to each request, arrays by index, all int64 (N,), and the server's own time.

    `service_ns` is prefill and rounds; `switch_ns` the moves of the request's own KV cache.
    """

    arrival_ns: NDArray[np.int64]
    first_service_ns: NDArray[np.int64]
    finish_ns: NDArray[np.int64]
    service_ns: NDArray[np.int64]
    switch_ns: NDArray[np.int64]
    preemptions: NDArray[np.int64]
    idle_ns: int
    end_ns: int
    policy: Policy

    @property
    def latency_ns(self) -> NDArray[np.int64]:
        """Finish minus arrival."""
        return self.finish_ns - self.arrival_ns


@dataclass(eq=False)
class Server:
    """One server at batch size 1 with KV memory for `kv_slots` requests (None: for all)."""

    env: simpy.Environment
    workload: Workload
    policy: Policy
    kv_slots: int | None = 1
    check: bool = False

    requests: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    resident: list[Request] = field(default_factory=list)
    running: Request | None = None
    arrived: int = 0
    done: int = 0
    idle_ns: int = 0

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a round, commit it."""
        while self.done < len(self.requests):
            self._admit()
            if self.check:
                self._check()
            if not self.waiting and self.running is None:
                gap = self.requests[self.arrived].arrival_ns - self._now
                self.idle_ns += gap
                yield self.env.timeout(gap)
                continue
            request = self._choose()
            yield self.env.timeout(self._make_resident(request) + self._start(request) + self._round(request))
            self._commit(request)

    @property
    def _now(self) -> int:
        return int(self.env.now)

    def _admit(self) -> None:
        while self.arrived < len(self.requests) and self.requests[self.arrived].arrival_ns <= self._now:
            request = self.requests[self.arrived]
            request.entered_ns = request.arrival_ns
            self.waiting.append(request)
            self.arrived += 1

    def _order(self, request: Request) -> tuple[Any, ...]:
        """Among waiting requests: rank, then entry into the queue, then order of arrival."""
        return (self.policy.rank(request, self._now), request.entered_ns, request.index)

    def _choose(self) -> Request:
        """The next round's request; the one running keeps its place unless a waiting rank is strictly lower."""
        if not self.waiting:
            assert self.running is not None
            return self.running
        best = min(self.waiting, key=self._order)
        if self.running is not None:
            if not self.policy.rank(best, self._now) < self.policy.rank(self.running, self._now):
                return self.running
            self.running.preemptions += 1
            self.waiting.append(self.running)
        self.waiting.remove(best)
        self.running = best
        return best

    def _make_resident(self, request: Request) -> int:
        """Nanoseconds to bring the request's KV cache in, evicting the worst waiting resident for space."""
        if request in self.resident:
            return 0
        costs, spent = self.workload.priced.profile.costs, 0
        if self.kv_slots is not None and len(self.resident) == self.kv_slots:
            victim = max((r for r in self.resident if r is not request), key=self._order)
            moved = costs.swap_out(victim.kv_tokens)
            victim.switch_ns += moved
            victim.swapped_out = True
            self.resident.remove(victim)
            spent += moved
        if request.swapped_out:
            moved = costs.swap_in(request.kv_tokens)
            request.switch_ns += moved
            request.swapped_out = False
            spent += moved
        self.resident.append(request)
        request.first_service_ns = self._now + spent if not request.started else request.first_service_ns
        return spent

    def _start(self, request: Request) -> int:
        """Nanoseconds of prefill, due before the first round."""
        if request.started:
            return 0
        request.started = True
        return request.prefill_ns

    def _round(self, request: Request) -> int:
        return request.round_ns[request.rounds]

    def _commit(self, request: Request) -> None:
        request.service_ns += request.round_ns[request.rounds]
        request.tokens += request.emitted[request.rounds]
        request.rounds += 1
        queue = request.queue
        self.policy.learn(request, self._now)
        if request.queue != queue:
            request.entered_ns = self._now
        if request.done:
            request.finish_ns = self._now
            self.running = None
            self.resident.remove(request)
            self.done += 1

    def _check(self) -> None:
        """Every invariant that must hold between rounds."""
        running = [] if self.running is None else [self.running]
        assert self.arrived == self.done + len(self.waiting) + len(running), "a request is lost or doubled"
        assert len({id(r) for r in self.waiting + running}) == len(self.waiting) + len(running)
        assert all(r.arrival_ns <= self._now for r in self.waiting)
        assert self.kv_slots is None or len(self.resident) <= self.kv_slots
        assert all(not r.done for r in self.resident + self.waiting + running)
        for request in self.requests[: self.arrived]:
            assert request.service_ns == sum(request.round_ns[: request.rounds])
            assert request.tokens == sum(request.emitted[: request.rounds])
            assert (request in self.resident) or not request.started or request.swapped_out or request.done
        prefilled = sum(r.prefill_ns for r in self.requests if r.started)
        spent = sum(r.service_ns + r.switch_ns for r in self.requests[: self.arrived])
        assert spent + prefilled + self.idle_ns == self._now, "the server's time does not add up"


def simulate(
    workload: Workload,
    policy: Policy,
    *,
    outlook: Outlook,
    kv_slots: int | None = 1,
    check: bool = False,
) -> Run:
    """Serve `workload` under `policy`, from an empty server until the last request is done.

    Parameters
    ----------
    outlook : what the server knows beforehand; true sizes are added here for clairvoyant policies only.
    kv_slots : requests whose KV caches fit in memory at once; None for all. At 1 every switch pays.
    check : hold the server to its invariants at every decision (slow).

    Raises
    ------
    ValueError
        If `kv_slots` is below 1.
    """
    if kv_slots is not None and kv_slots < 1:
        raise ValueError(f"kv_slots {kv_slots}: must be at least 1")
    requests = _requests(workload)
    if policy.clairvoyant:
        outlook = Outlook(
            outlook.mean_round_ns,
            outlook.past_sizes_ns,
            true_prefill_ns=[r.prefill_ns for r in requests],
            true_decode_ns=[sum(r.round_ns) for r in requests],
            true_tokens_per_round=[sum(r.emitted) / len(r.emitted) for r in requests],
        )
    env = simpy.Environment()
    server = Server(env, workload, policy.bind(outlook), kv_slots, check, requests)
    env.run(env.process(server.serve()))
    columns = {
        name: np.array([getattr(r, name) for r in requests], dtype=np.int64)
        for name in ("arrival_ns", "first_service_ns", "finish_ns", "service_ns", "switch_ns", "preemptions")
    }
    columns["service_ns"] += np.array([r.prefill_ns for r in requests], dtype=np.int64)
    return Run(**columns, idle_ns=server.idle_ns, end_ns=int(env.now), policy=server.policy)


def _requests(workload: Workload) -> list[Request]:
    priced = workload.priced
    recorded = {int(row): _recorded(priced, int(row)) for row in np.unique(workload.rows)}
    return [
        Request(index, int(arrival), int(priced.trace.prompt_tokens[row]), int(predicted), *recorded[int(row)])
        for index, (row, arrival, predicted) in enumerate(
            zip(workload.rows, workload.arrival_ns, workload.predicted_tokens, strict=True)
        )
    ]


def _recorded(priced: PricedTrace, row: int) -> tuple[list[int], list[int], list[int], list[int], int]:
    """A trace row's rounds as plain lists: cost, tokens, running totals of drafted and accepted; its prefill."""
    span = priced.trace.rounds_of(row)
    return (
        priced.round_ns[span].tolist(),
        priced.emitted[span].tolist(),
        [0, *np.cumsum(priced.trace.drafted[span]).tolist()],
        [0, *np.cumsum(priced.trace.accepted[span]).tolist()],
        int(priced.prefill_ns[row]),
    )
