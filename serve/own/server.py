"""The server: requests arrive on a clock, and before each round the policy chooses some to run.

Events at one instant have the same order as in the simulator (`docs/reference/model.md`). The
server shares the simulator's decisions and its memory managers. Its loop is independent code, so
that validation can compare the two. Unlike the simulator, it computes prompts, runs rounds and
transfers KV caches on real models. Knows nothing of any particular policy or model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from lapsd.calibrate.decoding.decoder import cut
from lapsd.policies import Policy
from lapsd.policies.decision import Decisions, choose, settle
from lapsd.serve.clock import Clock
from lapsd.serve.own.drafts import drafter_of
from lapsd.serve.own.rows import Rows
from lapsd.serve.plan import Plan
from lapsd.serve.record import KVTransfer, Prefilled, Record, RequestResult, Step
from lapsd.sim.engine.memory import Memory, Order, Transfer
from lapsd.sim.engine.recorded import RoundsSoFar
from lapsd.sim.engine.request import Request


@dataclass(eq=False)
class Server:
    """One run of a plan.

    Parameters
    ----------
    policy : bound to the context of the plan.
    memory : a manager whose transfers have no cost: the server measures their real time.
    """

    plan: Plan
    policy: Policy
    memory: Memory
    rows: Rows

    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    outputs: dict[int, list[int]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    results: list[RequestResult] = field(default_factory=list)
    arrived: int = 0
    idle_ns: int = 0
    now_ns: int = 0

    def __post_init__(self) -> None:
        self.decisions = Decisions(self.policy)
        self.drafter, most = drafter_of(self.plan), self.plan.longest_draft
        self.requests = [
            Request(
                i,
                planned.arrival_ns,
                planned.predicted_tokens,
                RoundsSoFar(len(planned.prompt), most),
                planned.arrival_ns,
            )
            for i, planned in enumerate(self.plan.requests)
        ]
        self.memory.on_transfer = self._transfer
        self._transfers: list[KVTransfer] = []

    def serve(self, after_step: Callable[["Server"], None] = lambda server: None) -> Record:
        """Serve until all requests have finished, or until interrupted."""
        self.begin()
        try:
            while not self.done:
                self.step()
                after_step(self)
        except KeyboardInterrupt:
            pass
        return self.record()

    def begin(self) -> None:
        """Start the clock of the run."""
        self.clock = Clock(self.plan.clock)

    @property
    def done(self) -> bool:
        """Whether all requests have finished."""
        return len(self.results) == len(self.requests)

    def record(self) -> Record:
        """Return the record of the run so far."""
        return Record(
            "own", self.plan.policy, self.steps, self.results, self.idle_ns, self.now_ns, self.done
        )

    def step(self) -> None:
        """Choose the running requests, serve them for one round, and commit the round.

        The commit happens at the instant of the next decision.
        """
        self._admit()
        fresh = self._choose()
        self._transfers = []
        self.memory.make_room(self.running, fresh, self._order(), self.now_ns)
        if not self.running:
            self._idle()
            return
        prefills = [self._prefill(request) for request in fresh if not request.started]
        self._round(prefills)

    def _admit(self) -> None:
        while (
            self.arrived < len(self.requests)
            and self.requests[self.arrived].arrival_ns <= self.now_ns
        ):
            request, planned = self.requests[self.arrived], self.plan.requests[self.arrived]
            self.rows.enter(request.index, planned.prompt, planned.stream)
            self.outputs[request.index] = []
            self.waiting.append(request)
            self.arrived += 1
            self.decisions.arrive(request, self.now_ns)

    def _order(self) -> Order:
        """Return the sort key of active requests."""
        return self.decisions.order(self.now_ns)

    def _choose(self) -> list[Request]:
        """Choose the requests that run the next round.

        Returns the requests among them that did not run in the last round, in order.
        """
        active = self.waiting + self.running
        chosen = choose(sorted(active, key=self._order()), self.plan.batch, self.memory.fits)
        self.waiting, fresh = settle(active, chosen)
        self.running = chosen
        return fresh

    def _idle(self) -> None:
        assert not self.waiting, "a request that can never fit was refused before the run"
        arrival_ns = self.requests[self.arrived].arrival_ns
        self.clock.idle_until(arrival_ns)
        self.idle_ns += arrival_ns - self.now_ns
        self.now_ns = arrival_ns

    def _transfer(self, transfer: Transfer) -> None:
        """Do a KV transfer that the memory manager asks for, and record its time."""
        request = transfer.request
        if transfer.kind == "swap in":
            ns = self.rows.swap_in(request.index)
        elif transfer.kind == "recompute":
            ns = self.rows.prefill(request.index)
        elif self.plan.evict == "swap":
            ns = self.rows.swap_out(request.index)
        else:
            self.rows.drop(request.index)
            ns = 0
        request.switch_ns += ns
        self._transfers.append(KVTransfer(transfer.kind, request.index, request.kv_tokens, ns))

    def _prefill(self, request: Request) -> Prefilled:
        request.started = True
        request.prefill_ns = self.rows.prefill(request.index)
        return Prefilled(request.index, request.prompt_tokens - 1, request.prefill_ns)

    def _round(self, prefills: list[Prefilled]) -> None:
        """Run a round of the running requests and record the step."""
        running, lengths = self.running, self._lengths()
        keys = [request.index for request in running]
        if not self.rows.is_ready(len(keys), max(lengths)):
            self.clock.stop()
            self.rows.make_ready(keys, max(lengths))
            self.clock.go()
        emitted, draft_ns, verify_ns = self.rows.round(keys, lengths)
        start_ns, self.now_ns = self.now_ns, self.clock.now_ns()
        at_ns = start_ns + sum(transfer.ns for transfer in self._transfers)
        for prefill in prefills:
            self.requests[prefill.request].first_service_ns = at_ns
            at_ns += prefill.ns
        round_ns = self.now_ns - at_ns
        contexts = [request.kv_tokens for request in running]
        rounds = list(zip(running, lengths, emitted, strict=True))
        kept_by = {
            request: self._commit(request, length, one.tokens, round_ns)
            for request, length, one in sorted(rounds, key=lambda r: r[0].index)
        }
        kept = [kept_by[request] for request in running]
        if self.drafter is not None:
            self.drafter.note(dict(zip(running, lengths, strict=True)))
        self.steps.append(
            Step(
                start_ns,
                self.now_ns,
                [r.index for r in running],
                round_ns,
                contexts,
                scheduled=[length + 1 for length in lengths],
                accepted=[min(e.accepted, k) for e, k in zip(emitted, kept, strict=True)],
                emitted=kept,
                transfers=self._transfers,
                prefills=prefills,
                draft_ns=draft_ns,
                verify_ns=verify_ns,
            )
        )
        self._complete()

    def _lengths(self) -> list[int]:
        """Return the draft length of each running request in the next round."""
        if self.drafter is None:
            return [self.plan.draft_tokens] * len(self.running)
        lengths = self.drafter.choose(self.running, len(self.waiting), self.now_ns)
        return [lengths[request] for request in self.running]

    def _commit(self, request: Request, length: int, tokens: list[int], round_ns: int) -> int:
        """Commit a request's part of a round; return the number of tokens that it emitted."""
        rounds, output = request.recorded, self.outputs[request.index]
        assert isinstance(rounds, RoundsSoFar)
        most = self.plan.requests[request.index].max_new_tokens
        stops = frozenset() if self.plan.ignore_stops else self.rows.pair.stop_ids
        kept, last = cut(tokens, stops, most - len(output))
        output += kept
        rounds.add(length, len(kept), min(len(tokens) - 1, len(kept)), last=last)
        self.decisions.commit(request, len(kept), round_ns, self.now_ns)
        return len(kept)

    def _complete(self) -> None:
        done = sorted((r for r in self.running if r.done), key=lambda r: r.index)
        self.running = [r for r in self.running if not r.done]
        for request in done:
            self.memory.release(request)
            self.rows.leave(request.index)
            request.running = False
            self.results.append(self._result(request))
            self.decisions.leave(request, self.now_ns)

    def _result(self, request: Request) -> RequestResult:
        rounds = request.recorded
        assert isinstance(rounds, RoundsSoFar)
        return RequestResult(
            request.index,
            request.arrival_ns,
            request.first_service_ns,
            self.now_ns,
            request.prefill_ns,
            request.service_ns,
            request.switch_ns,
            request.preemptions,
            self.outputs[request.index],
            drafted=rounds.round_drafted,
            accepted=rounds.accepted_by_round,
        )
