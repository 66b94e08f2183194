"""The specification of several servers, each a `SimPyServer`: a router sends requests to them, or
they take requests from one queue.

Everything happens on SimPy's clock, in the order of `instants`. The module `service_loop` has the
same steps, compiled.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
import simpy

from lapsd.policies import NEVER
from lapsd.policies.routers import Router, Servers
from lapsd.policies.routers.base import COLUMNS, OF_ACTIVE
from lapsd.policies.routers.calls import server_of, state_of
from lapsd.sim.engine.guardrails import Guardrails
from lapsd.sim.engine.instants import At, arrival, commit, decision, report
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.server import SimPyServer, released_at_first, requests_of
from lapsd.traces import Workload

Report = dict[str, int]


class ActiveRequest(NamedTuple):
    """The part of a report about one active request: `Servers.active_tokens`, and so on."""

    tokens: int
    prefill_ns: int
    runs: int


@dataclass(eq=False)
class RoutedServer(SimPyServer):
    """One of several servers, which takes in the requests that were sent to it.

    Parameters
    ----------
    service : what it belongs to.
    number : from 0.
    token_ns : predicted time per output token.
    sizes_ns : predicted time of each request when it runs alone, by index.
    """

    service: "Service" = field(kw_only=True)
    number: int = field(kw_only=True)
    token_ns: int = field(kw_only=True)
    sizes_ns: Sequence[int] = field(kw_only=True)

    sent: list[Request] = field(default_factory=list)
    received: int = 0
    idle_since_ns: int | None = None
    step_began_ns: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.requests = self.service.requests
        self._called = self.env.event()

    def receive(self, request: Request) -> None:
        """Take a request, which waits from the next decision on; an idle server decides now."""
        request.recorded = self.recorded[request.index]
        self.sent.append(request)
        self.received += 1
        self.call()

    def call(self) -> None:
        """Let an idle server decide now."""
        if self.idle_since_ns is not None and not self._called.triggered:
            self._called.succeed()

    def active(self) -> list[Request]:
        return [*self.waiting, *self.running, *self.sent]

    def report(self) -> Report:
        """Return what the router may know of the server now."""
        active = self.active()
        return {
            "slots": self.capacity.batch,
            "waiting": len(active) - len(self.running),
            "running": len(self.running),
            "work_ns": sum(map(self._predicted_ns, active)),
            "true_work_ns": self._true_work_ns(active) if self.service.clairvoyant else 0,
            "kv_tokens": sum(r.kv_tokens for r in self.running),
            "kv_capacity": self.capacity.kv_tokens or 0,
        }

    def report_active(self) -> list[ActiveRequest]:
        """Return what the router may know of the active requests now, in order of arrival."""
        return [
            ActiveRequest(
                max(0, r.predicted_tokens - r.tokens),
                0 if r.rounds else r.recorded.prefill_ns,
                int(r.running),
            )
            for r in sorted(self.active(), key=lambda r: r.index)
        ]

    def _predicted_ns(self, request: Request) -> int:
        """Return the predicted remaining time of an active request."""
        if request.rounds == 0:
            return self.sizes_ns[request.index]
        return self.token_ns * max(0, request.predicted_tokens - request.tokens)

    def _true_work_ns(self, active: Sequence[Request]) -> int:
        """Return the true remaining time of active requests, less the present step's past part."""
        work_ns = sum(
            r.recorded.remaining_ns[r.rounds] + (0 if r.rounds else r.recorded.prefill_ns)
            for r in active
        )
        over_ns = 0 if self.step_began_ns is None else self._now - self.step_began_ns
        return max(0, work_ns - over_ns)

    def _decision_time(self) -> Iterable[simpy.Event]:
        return (At(self.env, 0, decision(len(self.service.servers), self.number)),)

    def _pass(self, ns: int) -> simpy.Event:
        self.step_began_ns = self._now
        return At(self.env, ns, commit(self.number))

    def _arrive(self) -> None:
        if self.idle_since_ns is not None:
            self.run_record.idle_ns += self._now - self.idle_since_ns
            self.idle_since_ns = None
        for request in self.sent:
            self.admit(request)
        self.waiting += self.sent
        self.sent = []

    def _choose(self) -> list[Request]:
        """As one server; with one queue, of its own requests and of those in the queue."""
        self.waiting += self.service.queue
        fresh = super()._choose()
        if self.service.central:
            self.service.queue = [r for r in self.waiting if not r.started]
            self.waiting = [r for r in self.waiting if r.started]
            self.received += sum(not r.started for r in fresh)
        return fresh

    def _wait(self) -> simpy.Event:
        self.idle_since_ns = self._now
        self._called = self.env.event()
        ready_ns = self._next_transfer_ns()
        if ready_ns == NEVER:
            return self._called
        place = decision(len(self.service.servers), self.number)
        return self._called | At(self.env, ready_ns - self._now, place)

    def _commit(self, step_ns: int) -> None:
        self.step_began_ns = None
        super()._commit(step_ns)

    def _release_next(self) -> None:
        self.service.release_next()

    def _leave(self, request: Request) -> None:
        super()._leave(request)
        self.service.left(request, self.number)

    def _check(self) -> None:
        there, resident = self.active(), self.memory.resident
        assert self.received == self.run_record.done + len(there), "a request is lost or doubled"
        assert len(self.running) <= self.capacity.batch
        assert all(r in resident for r in self.running)
        self.memory.check()
        assert self.busy_ns + self.run_record.idle_ns == self._now, (
            "the server's time does not add up"
        )


@dataclass(eq=False)
class Service:
    """Servers that share the requests of a workload.

    Parameters
    ----------
    router : bound; None: servers take from one queue.
    random : random numbers for the router, by index of the request.
    report_ns : time between two reports to the router; 0: it sees the present.
    guardrails : or None.
    """

    env: simpy.Environment
    workload: Workload
    router: Router | None
    random: Any
    report_ns: int
    guardrails: Guardrails | None = None

    servers: list[RoutedServer] = field(default_factory=list)
    queue: list[Request] = field(default_factory=list)
    server: list[int] = field(default_factory=list)
    done: int = 0

    def __post_init__(self) -> None:
        self.requests = requests_of(self.workload, [None] * len(self.workload))  # type: ignore[list-item]
        self.released = released_at_first(self.workload)
        self.server = [0] * len(self.workload)
        self.reports: list[Report] = []
        self.reports_active: list[list[ActiveRequest]] = []
        self.finished = self.env.event()
        self._state = None if self.router is None else state_of(self.router)

    @property
    def central(self) -> bool:
        """Whether servers take from one queue."""
        return self.router is None

    @property
    def clairvoyant(self) -> bool:
        """Whether the router knows true remaining times."""
        return self.router is not None and self.router.clairvoyant

    def serve(self) -> simpy.Event:
        """Start all processes; return the event that all requests are done."""
        for server in self.servers:
            self.env.process(server.serve())
        self.env.process(self._arrivals())
        if self.report_ns:
            self.env.process(self._reports())
        return self.finished

    def close(self) -> None:
        """Count the time in which servers are idle at the end."""
        for server in self.servers:
            if server.idle_since_ns is not None:
                server.run_record.idle_ns += int(self.env.now) - server.idle_since_ns
                server.idle_since_ns = None

    def _arrivals(self) -> Generator[simpy.Event, Any, None]:
        """Let requests arrive whose times are known from the start."""
        for request in self.requests[: self.released]:
            yield At(self.env, request.arrival_ns - int(self.env.now), arrival(len(self.servers)))
            self._arrive(request)

    def release_next(self) -> None:
        """In a closed loop, let the next request arrive after the think time."""
        if self.released < len(self.requests):
            request = self.requests[self.released]
            self.released += 1
            request.arrival_ns = int(self.env.now) + self.workload.think_ns
            arrives = At(self.env, self.workload.think_ns, arrival(len(self.servers)))
            arrives.callbacks.append(lambda event: self._arrive(request))

    def _arrive(self, request: Request) -> None:
        """Send a request to a server, or let it wait in the queue."""
        now_ns = int(self.env.now)
        if self.router is None:
            request.recorded = self.servers[0].recorded[request.index]
            self.servers[0].admit(request)
            self.queue.append(request)
            for server in self.servers:
                server.call()
            return
        sizes = [server.sizes_ns[request.index] for server in self.servers]
        request.recorded = self.servers[0].recorded[request.index]
        chosen = server_of(self.router, self._routed(request), self._seen(request, sizes), now_ns)
        if self.guardrails is not None:
            self.guardrails.send(sizes[0], chosen)
        if self.reports:
            self.reports[chosen]["waiting"] += 1
            self.reports[chosen]["work_ns"] += sizes[chosen]
            self.reports[chosen]["true_work_ns"] += self._true_size_ns(request, chosen)
            prefill_ns = self.servers[chosen].recorded[request.index].prefill_ns
            self.reports_active[chosen].append(
                ActiveRequest(request.predicted_tokens, prefill_ns, 0)
            )
        self.server[request.index] = chosen
        self.servers[chosen].receive(request)

    def left(self, request: Request, number: int) -> None:
        """Note that a request has left a server."""
        self.done += 1
        self.server[request.index] = number
        if self.guardrails is not None:
            self.guardrails.leave(number)
        if self.done == len(self.requests):
            self.finished.succeed()

    def _routed(self, request: Request) -> "RoutedRequest":
        """Return what the router sees of a request."""
        return RoutedRequest(
            request.index,
            request.arrival_ns,
            request.recorded.prompt_tokens,
            request.predicted_tokens,
            self.random[request.index],
        )

    def _seen(self, request: Request, sizes_ns: Sequence[int]) -> Servers:
        """Return what the router knows of the servers."""
        count = len(self.servers)
        reports = self.reports or [server.report() for server in self.servers]
        allowed = [1] * count if self.guardrails is None else self.guardrails.allowed(sizes_ns[0])
        columns: dict[str, Sequence[int]] = {
            name: [report[name] for report in reports] for name in reports[0]
        }
        columns |= {"allowed": allowed, "size_ns": sizes_ns}
        columns["prefill_ns"] = [s.recorded[request.index].prefill_ns for s in self.servers]
        memories = [server.memory for server in self.servers]
        columns["cached_tokens"] = [memory.cached_tokens(request) for memory in memories]
        columns["filled_tokens"] = [memory.filled_tokens for memory in memories]
        active = self.reports_active or [server.report_active() for server in self.servers]
        columns["begin"] = [0, *accumulate(map(len, active))]
        every = list(chain(*active))
        columns["active_tokens"] = [r.tokens for r in every]
        columns["active_prefill_ns"] = [r.prefill_ns for r in every]
        columns["active_runs"] = [r.runs for r in every]
        arrays = {name: np.array(columns[name], dtype=np.int64) for name in (*COLUMNS, *OF_ACTIVE)}
        return Servers(count, **arrays, state=self._state)

    def _true_size_ns(self, request: Request, number: int) -> int:
        """Return the true time of a request that runs alone on a server, if the router knows it."""
        if not self.clairvoyant:
            return 0
        recorded = self.servers[number].recorded[request.index]
        return recorded.prefill_ns + recorded.remaining_ns[0]

    def _reports(self) -> Generator[simpy.Event, Any, None]:
        """Let the servers report, at time 0 and then again and again."""
        while True:
            yield At(self.env, 0, report(len(self.servers)))
            self.reports = [server.report() for server in self.servers]
            self.reports_active = [server.report_active() for server in self.servers]
            yield self.env.timeout(self.report_ns)


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """What a router sees of a request: a `routers.Routed`."""

    index: int
    arrival_ns: int
    prompt_tokens: int
    predicted_tokens: int
    random: Any
