"""The server: requests of a workload served in batches under a policy, round by round, on SimPy's clock.

The order of things at one instant, and what each decision commits, is `docs/simulator.md`. This is the slow
and obvious form: every request is ranked again at every round boundary. Knows nothing of any particular
policy, of randomness, or of floats: time is integer nanoseconds.
"""

import itertools
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from policies import Outlook, Policy
from sim.request import Request, requests_of
from traces import Workload


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


@dataclass(frozen=True)
class Capacity:
    """What a server can run and hold at once.

    Parameters
    ----------
    batch : requests that run a round together, at least 1.
    kv_slots : requests whose KV caches fit in memory, at least `batch`; None: no such limit. At 1 every switch pays.
    kv_tokens : tokens whose keys and values fit, running requests with what their next round may add; None: no limit.
    evict : `swap` moves a cache to host memory and back; `recompute` drops it and prefills its tokens again.
    prefill : prompts of one decision `alone`, one after the other, or `batched`, all their tokens in one pass.

    Raises
    ------
    ValueError
        Naming the parameter, its value and the bound.
    """

    batch: int = 1
    kv_slots: int | None = 1
    kv_tokens: int | None = None
    evict: str = "swap"
    prefill: str = "alone"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch {self.batch}: must be at least 1")
        if self.kv_slots is not None and self.kv_slots < self.batch:
            raise ValueError(f"kv_slots {self.kv_slots}: must be at least the batch size, {self.batch}")
        if self.kv_tokens is not None and self.kv_tokens < 1:
            raise ValueError(f"kv_tokens {self.kv_tokens}: must be at least 1")
        for name, known in (("evict", ("swap", "recompute")), ("prefill", ("alone", "batched"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: must be {' or '.join(known)}")


@dataclass(eq=False)
class Server:
    """One server of a given capacity."""

    env: simpy.Environment
    workload: Workload
    policy: Policy
    capacity: Capacity = field(default_factory=Capacity)
    check: bool = False

    requests: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    resident: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    arrived: int = 0
    done: int = 0
    idle_ns: int = 0
    busy_ns: int = 0

    def __post_init__(self) -> None:
        profile = self.workload.priced.profile
        self._costs = profile.costs
        self._round_cost = {b: profile.round_cost(b) for b in range(1, self.capacity.batch + 1)}

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a round, commit it."""
        while self.done < len(self.requests):
            self._admit()
            if self.check:
                self._check()
            if not self.waiting and not self.running:
                gap = self.requests[self.arrived].arrival_ns - self._now
                self.idle_ns += gap
                yield self.env.timeout(gap)
                continue
            self._choose()
            before = self._make_room()
            before += self._bring_in()
            before += self._prefill(self._now + before)
            round_ns = self._round_ns()
            self.busy_ns += before + round_ns
            yield self.env.timeout(before + round_ns)
            self._commit(round_ns)

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
        """By rank; at equal ranks who runs keeps running, then by entry into the queue, then by order of arrival."""
        return (self._rank(request), not request.running, request.entered_ns, request.index)

    def _rank(self, request: Request) -> Any:
        rank = self.policy.rank(request, self._now)
        # a rank that is not equal to itself (NaN in it) has no place in any order
        for part in rank:
            if part != part:
                name = self.policy.name or type(self.policy).__name__
                raise ValueError(f"policy {name}: rank {rank} of request {request.index} is not comparable")
        return rank

    def _choose(self) -> None:
        """The next round's requests: in order, as many as the batch and the KV memory take, none passed over."""
        chosen: list[Request] = []
        tokens = 0
        there = self.running + self.waiting
        ordered = self.waiting or self.capacity.kv_tokens is not None  # else all that ran runs on
        for request in sorted(there, key=self._order) if ordered else there:
            if len(chosen) == self.capacity.batch:
                break
            tokens += request.kv_needed
            if not self._fits(tokens):
                break
            chosen.append(request)
        for request in there:
            runs = request in chosen
            request.preemptions += request.running and not runs
            request.running = runs
        self.waiting = [r for r in there if not r.running]
        self.running = chosen

    def _fits(self, tokens: int) -> bool:
        return self.capacity.kv_tokens is None or tokens <= self.capacity.kv_tokens

    def _make_room(self) -> int:
        """Nanoseconds to evict waiting residents, the last in order first, until the running ones have room."""
        spent = 0
        others = [r for r in self.resident if not r.running]
        if not others or self._room_with(others):
            return 0
        others.sort(key=self._order)
        while others and not self._room_with(others):
            victim = others.pop()
            if self.capacity.evict == "swap":
                moved = self._costs.swap_out(victim.kv_tokens)
                victim.switch_ns += moved
                spent += moved
            victim.away = True
            self.resident.remove(victim)
        return spent

    def _room_with(self, others: list[Request]) -> bool:
        slots = self.capacity.kv_slots
        held = sum(r.kv_needed for r in self.running) + sum(r.kv_tokens for r in others)
        return (slots is None or len(self.running) + len(others) <= slots) and self._fits(held)

    def _bring_in(self) -> int:
        """Nanoseconds until every running request that had started has its KV cache in memory again."""
        spent = 0
        for request in self.running:
            if request.started and not request.away:
                continue
            if request.away:
                moved = self._return_ns(request)
                request.switch_ns += moved
                request.away = False
                spent += moved
            self.resident.append(request)
        return spent

    def _return_ns(self, request: Request) -> int:
        if self.capacity.evict == "swap":
            return self._costs.swap_in(request.kv_tokens)
        # all but the last token, which the next round verifies with its drafts
        return self._costs.prefill(request.kv_tokens - 1) if request.kv_tokens > 1 else 0

    def _prefill(self, start_ns: int) -> int:
        """Nanoseconds of prefill, due before a request's first round."""
        fresh = [r for r in self.running if not r.started]
        # the first round verifies the prompt's last token: what is left to cache may be nothing
        cached = sum(max(0, r.prompt_tokens - 1) for r in fresh)
        together = self._costs.prefill(cached) if cached and self.capacity.prefill == "batched" else 0
        spent = together
        for request in fresh:
            request.started = True
            request.first_service_ns = start_ns + spent - together
            request.prefill_spent_ns = together or request.prefill_ns
            spent += 0 if together else request.prefill_ns
        return spent

    def _round_ns(self) -> int:
        """A round of the batch: as long as its longest draft, over the sum of contexts."""
        if len(self.running) == 1:
            return self.running[0].round_ns[self.running[0].rounds]
        cost = self._round_cost[len(self.running)]
        return cost(max(r.next_drafted for r in self.running), sum(r.kv_tokens for r in self.running))

    def _commit(self, round_ns: int) -> None:
        for request in self.running:
            request.service_ns += round_ns
            request.tokens += request.emitted[request.rounds]
            request.rounds += 1
            queue = request.queue
            self.policy.learn(request, self._now)
            if request.queue != queue:
                request.entered_ns = self._now
            if request.done:
                request.finish_ns = self._now
                self.resident.remove(request)
                self.done += 1
                request.running = False
        self.running = [r for r in self.running if not r.done]

    def _check(self) -> None:
        """Every invariant that must hold between rounds."""
        there = self.waiting + self.running
        assert self.arrived == self.done + len(there), "a request is lost or doubled"
        assert len({id(r) for r in there}) == len(there)
        assert len(self.running) <= self.capacity.batch
        assert all(r in self.resident for r in self.running)
        assert all(r.running == (r in self.running) for r in self.requests)
        assert all(r.arrival_ns <= self._now for r in there)
        assert self.capacity.kv_slots is None or len(self.resident) <= self.capacity.kv_slots
        # between rounds nobody looks ahead, and what was emitted was looked ahead for
        assert self._fits(sum(r.kv_tokens for r in self.resident))
        assert all(not r.done for r in self.resident + there)
        for request in self.requests[: self.arrived]:
            if self.capacity.batch == 1:
                assert request.service_ns == sum(request.round_ns[: request.rounds])
            assert request.tokens == sum(request.emitted[: request.rounds])
            places = (request in self.resident, not request.started, request.away, request.done)
            assert places.count(True) == 1, f"request {request.index} is in {places.count(True)} places"
        assert self.busy_ns + self.idle_ns == self._now, "the server's time does not add up"


def simulate(
    workload: Workload,
    policy: Policy,
    *,
    outlook: Outlook,
    kv_slots: int | None = 1,
    capacity: Capacity | None = None,
    check: bool = False,
) -> Run:
    """Serve `workload` under `policy`, from an empty server until the last request is done.

    Parameters
    ----------
    outlook : what the server knows beforehand; true sizes are added here for clairvoyant policies only.
    kv_slots : requests whose KV caches fit in memory at once; None for all. At 1 every switch pays.
    capacity : batch size, KV memory and what happens when it is full; overrides `kv_slots`.
    check : hold the server to its invariants at every decision (slow).

    Raises
    ------
    ValueError
        If a request can never fit the KV memory, the profile does not cover the batch, or ranks cannot be compared.
    """
    capacity = Capacity(kv_slots=kv_slots) if capacity is None else capacity
    requests = requests_of(workload)
    _refuse_what_never_fits(requests, capacity)
    if policy.clairvoyant:
        outlook = Outlook(
            outlook.mean_round_ns,
            outlook.past_sizes_ns,
            true_prefill_ns=[r.prefill_ns for r in requests],
            true_left_ns=[_left(r.round_ns) for r in requests],
            true_tokens_per_round=[sum(r.emitted) / len(r.emitted) for r in requests],
        )
    env = simpy.Environment()
    server = Server(env, workload, policy.bind(outlook), capacity, check, requests)
    try:
        env.run(env.process(server.serve()))
    except TypeError as error:
        if "not supported between instances" not in str(error):
            raise
        raise ValueError(
            f"policy {policy.name or type(policy).__name__}: ranks are not comparable ({error})"
        ) from error
    columns = {
        name: np.array([getattr(r, name) for r in requests], dtype=np.int64)
        for name in ("arrival_ns", "first_service_ns", "finish_ns", "service_ns", "switch_ns", "preemptions")
    }
    columns["service_ns"] += np.array([r.prefill_spent_ns for r in requests], dtype=np.int64)
    return Run(**columns, idle_ns=server.idle_ns, end_ns=int(env.now), policy=server.policy)


def _left(round_ns: list[int]) -> list[int]:
    """Time left after 0, 1, ... rounds."""
    return [*np.cumsum(round_ns[::-1])[::-1].tolist(), 0]


def _refuse_what_never_fits(requests: list[Request], capacity: Capacity) -> None:
    if capacity.kv_tokens is None:
        return
    for request in requests:
        longest = max(d - c for c, d in itertools.pairwise(request.drafted_sums))
        need = request.prompt_tokens + sum(request.emitted) + longest + 1
        if need > capacity.kv_tokens:
            raise ValueError(
                f"kv_tokens {capacity.kv_tokens}: request {request.index} can never fit: its prompt, output and "
                f"look-ahead take {need} tokens"
            )
