"""Batches whose prompts share steps with rounds, skipping ahead wherever nobody prefills.

A step that holds chunks of prompts is decided and served as the specification does it, one at a
time; must give what `step` gives, to the nanosecond.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lapsd.policies import NEVER, Rank
from lapsd.policies.decision import rank_of
from lapsd.sim.engine.prefill import share_tokens
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.servers.batch import BatchServer
from lapsd.sim.engine.servers.skip import WAITING_ORDER


@dataclass(eq=False)
class MixedServer(BatchServer):
    """One server whose prompts share steps: who runs and has no round in the next one is `beside`
    those who sit.

    Attributes
    ----------
    beside : dict of Request
        Who runs and lacks tokens, or for whose round the budget does not last.
    chunks : dict of int by Request
        Tokens of prompts that the next step computes.
    """

    beside: dict[Request, None] = field(default_factory=dict)
    chunks: dict[Request, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._step_cost = self.workload.priced.profile.step_cost(self.capacity.batch)
        self._budget = NEVER if self.capacity.budget is None else self.capacity.budget
        drafted = {d for r in self.recorded for d in r.round_drafted}
        self._longest_round, self._rounds_alike = (
            max(drafted) + 1,
            len(drafted) == 1,
        )  # the former in tokens

    def _arrive(self, now_ns: int) -> Request:
        request = super()._arrive(now_ns)
        request.uncomputed_tokens = max(0, request.prompt_tokens - 1)
        return request

    def _choose(self, now_ns: int) -> list[Request]:
        for request in [r for r in self.beside if not r.uncomputed_tokens]:
            del self.beside[request]
            self._sit(request)
        self.chunks.clear()
        kept = self._keep_all(now_ns)
        return self._choose_what_fits(now_ns) if kept is None else kept

    def _keep_all(self, now_ns: int) -> list[Request] | None:
        """Newcomers for whom there is room and budget, if all who run go on, all of them in the
        step; else None.
        """
        heap, beside, together = self.waiting.heap, self.beside, self.together
        left = self._budget - self._tokens_of_rounds() - sum([r.uncomputed_tokens for r in beside])
        if (
            left < 0
            or not together.fit(tuple(beside))
            or (heap and self._comes_before_some(heap[0][0], now_ns))
        ):
            return None
        self.chunks.update((r, r.uncomputed_tokens) for r in beside)
        fresh: list[Request] = []
        passed: list[tuple[Rank, Request]] = []
        caught_up = False
        while heap and left and self._how_many_run() + len(passed) < self.capacity.batch:
            rank, request = heap[0][0], heap[0][3]
            if not together.fit((*beside, *(r for _, r in passed), request)):
                break
            if request.started and not caught_up:  # what it lacks depends on what others took
                self.batch.settled()
                self.memory.catch_up()
                caught_up = True
            self.waiting.pop()
            tokens = min(request.uncomputed_tokens, left) or request.next_drafted + 1
            if tokens > left:
                passed.append((rank, request))
                continue
            left -= tokens
            fresh.append(request)
            self._take_in(request, tokens)
        for rank, request in passed:
            self.waiting.push(request, rank, now_ns)
        # who waits may have more of the budget next time, and who runs less
        self._one_round = (
            not left or bool(passed) or self._how_many_run() * self._longest_round > self._budget
        )
        return fresh

    def _tokens_of_rounds(self) -> int:
        """What the next round takes of the budget, of those who sit."""
        if self._rounds_alike:
            return len(self.batch.batch_slots) * self._longest_round
        return sum([request.next_drafted + 1 for request in self.batch.settled()])

    def _comes_before_some(self, waiting: Rank, now_ns: int) -> bool:
        """Whether a waiting rank is lower than that of one who runs."""
        self.worst.rank(list(self.batch.to_ask), now_ns)
        return self.worst.behind(waiting, now_ns) is not None or any(
            waiting < rank_of(self.policy, r, now_ns) for r in self.beside
        )

    def _choose_what_fits(self, now_ns: int) -> list[Request]:
        """Everyone in order as long as they fit, none passed over; of those, who has tokens of the
        step.
        """
        batch, beside = self.batch, self.beside
        batch_slots = dict(zip(batch.settled(), batch.batch_slots, strict=True))
        ordered, newcomers = self._in_order([*batch_slots, *beside], now_ns)
        self.memory.catch_up()
        chosen = self.memory.first_that_fit(ordered, len(ordered))
        step, kept = share_tokens(chosen, self.capacity.budget), set(chosen)
        self.chunks.update((r, tokens) for r, tokens in step.items() if r.uncomputed_tokens)
        for request, rank in newcomers:
            if request not in step:
                self.waiting.push(request, rank, now_ns)
        for request, batch_slot in batch_slots.items():
            if request not in kept:
                self._send_away(batch_slot, now_ns)
            elif request not in step:
                self._leave(batch_slot)
                beside[request] = None
        for request in [r for r in beside if r not in kept]:
            del beside[request]
            self._wait_again(request, now_ns)
        fresh = [request for request, _ in newcomers if request in step]
        for request in fresh:
            self._take_in(request, step[request])
        self._one_round = True
        for batch_slot in batch.batch_slots:
            batch.ask(batch_slot)
        return fresh

    def _take_in(self, request: Request, tokens: int) -> None:
        """A newcomer has so many tokens of the step."""
        if request.uncomputed_tokens:
            request.running = True
            self.beside[request] = None
            self.chunks[request] = tokens
        else:
            self._sit(request)

    def _note_first_rounds(self, end_ns: int) -> None:
        first = [
            request
            for request in self._first_rounds
            if request.running and request not in self.beside
        ]
        for request in first:
            request.first_token_ns = end_ns
            self._first_rounds.remove(request)

    def _make_room(self, fresh: Sequence[Request], now_ns: int) -> int:
        stalled = len(self.beside) > len(
            self.chunks
        )  # they take for a round that they do not run yet
        if not (fresh or stalled) and self._all_there_run():
            return 0
        return self.memory.make_room(
            [*self.batch.settled(), *self.beside], fresh, WAITING_ORDER, now_ns
        )

    def _stretch(self, now_ns: int, start_ns: int) -> tuple[int, int]:
        if not self.beside:
            return super()._stretch(now_ns, start_ns)
        step_ns = self._step_ns()
        for request, tokens in self.chunks.items():
            request.uncomputed_tokens -= tokens
            request.prefill_ns += step_ns
        return 1, step_ns

    def _step_ns(self) -> int:
        """What the next step costs, of the rounds of those who sit and the chunks beside them."""
        batch, chunks = self.batch, self.chunks
        if not chunks:
            return batch.stretches.up_to(batch.rounds, 1, 0)[1]
        rounds = batch.settled()
        held = sum([r.kv_tokens - 1 - r.uncomputed_tokens for r in chunks])
        contexts = sum([r.kv_tokens for r in rounds])
        return self._step_cost(
            [r.next_drafted for r in rounds], contexts, list(chunks.values()), held
        )

    def _how_many_run(self) -> int:
        return len(self.batch.batch_slots) + len(self.beside)

    def _running(self) -> list[Request]:
        return [*super()._running(), *self.beside]
