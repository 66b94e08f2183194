"""Caches that move beside rounds: blocks of tokens, and one copy engine for each direction, on the server's clock.

What managers that offload ahead of need have in common; who leaves and who comes back is theirs (`plan`).
"""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence

from policies import NEVER
from sim.engine.memory.base import Memory, Move, Order
from sim.engine.memory.blocks import as_many, needs, refuse_larger
from sim.engine.memory.eviction import Eviction
from sim.engine.recorded import Recorded
from sim.engine.request import Request


class Offload(Memory):
    """Blocks of so many tokens; a cache that is on its way out or in holds its blocks, and its request cannot run.

    A move begins when its engine is free, and rounds go on meanwhile. They wait only where those who run lack blocks
    that are not free yet: then the worst of those who do not run move out, and the round begins once they have.

    Parameters
    ----------
    batch : requests that run together.
    blocks, block : how many blocks there are, and the tokens of each.

    Attributes
    ----------
    at_rest : bool
        Nothing moved at this decision, and nothing will by rounds going on alone, as long as it `lasts`.
    """

    foresees = True

    def __init__(self, eviction: Eviction, batch: int, blocks: int, block: int) -> None:
        super().__init__(eviction)
        self.batch, self.blocks, self.block = batch, blocks, block
        self.at_rest = False
        self.held: dict[Request, int] = {}  # blocks, of holders and of who is on its way
        self.leaving: dict[Request, int] = {}  # until when
        self.coming: dict[Request, int] = {}
        self.outside: set[Request] = set()
        self._engine_free_ns = {"swap out": 0, "swap in": 0}

    @abstractmethod
    def plan(self, ordered: Sequence[Request], now_ns: int) -> bool:
        """Send holders away and fetch caches from outside, as it is best for those there, in order.

        Returns whether somebody waits for blocks that others are to free.
        """

    @abstractmethod
    def may_take(self, running: Sequence[Request]) -> int:
        """So many blocks may those take who run, beside all that is held but by who leaves, before `plan` acts."""

    def ready(self, ordered: Sequence[Request], now_ns: int) -> list[Request]:
        self._catch_up()
        self.at_rest = not self._land(now_ns)
        wants = self.plan(ordered, now_ns)
        if self._land(now_ns):  # moves that take no time make room at once
            wants = self.plan(ordered, now_ns)
            self._land(now_ns)
        self.at_rest &= not wants
        here = self.holders
        return [r for r in ordered if r in here or not r.started]

    def _catch_up(self) -> None:
        """Hold what those who ran held in their last round: as it is, unless the server skipped ahead to here."""
        held = self.held
        for request in self.holders:
            if request.running and request.rounds:
                blocks = -(-request.recorded.looks_ahead[request.rounds - 1] // self.block)
                if blocks > held[request]:
                    held[request] = blocks

    def _land(self, now_ns: int) -> bool:
        """Moves that are over by now; whether there were any."""
        left = [r for r, end_ns in self.leaving.items() if end_ns <= now_ns]
        for request in left:
            del self.leaving[request], self.held[request]
            self.outside.add(request)
        come = [r for r, end_ns in self.coming.items() if end_ns <= now_ns]
        for request in come:
            del self.coming[request]
            self.holders[request] = None
        return bool(left or come)

    def ready_ns(self, request: Request, now_ns: int) -> int:
        if request in self.holders or not request.started:
            return now_ns
        return self.coming.get(request, self.leaving.get(request, NEVER))

    @property
    def next_ns(self) -> int:
        """When the next move is over."""
        return min([*self.leaving.values(), *self.coming.values()], default=NEVER)

    def lasts(self, running: Sequence[Request], most: int) -> int:
        return self.rests(running, most)[0]

    def rests(self, running: Sequence[Request], most: int) -> tuple[int, int]:
        """How many of the next `most` rounds, at least 1, those who run fit and no `plan` acts, if nobody else comes.

        And at the decision after how many it may act; more than `most` if not by then.
        """
        block, ahead = self.block, []
        for request in running:
            ahead.append((request.recorded.looks_ahead, request.rounds))
            if request.recorded.draft_tokens is None:
                most = 1  # what a round may add goes up and down where draft lengths differ
        blocks = self.free + sum([self.held[r] for r in running])

        def needed(rounds: int) -> int:
            return sum([-(-tokens[done + rounds] // block) for tokens, done in ahead])

        def as_long_as(blocks: int, most: int, need: int) -> int:
            """In how many rounds no more than those are needed, of so many, of which the last one needs `need`."""
            return most if need <= blocks else bisect_right(range(most), blocks, key=needed)

        last = needed(most - 1)
        # a plan sees what the round before that decision held, who leaves not counted
        acts = 1 + as_long_as(blocks - self.blocks + self.may_take(running) + self.soon_free - self.free, most, last)
        return max(1, min(as_long_as(blocks, most, last), acts)), acts

    def needed(self, request: Request) -> int:
        """Its blocks in its next round."""
        return needs((request,), self.block, self.held)[0]

    @property
    def free(self) -> int:
        """Blocks that nobody holds."""
        return self.blocks - sum(self.held.values())

    @property
    def soon_free(self) -> int:
        """Blocks that nobody holds once those who leave have left."""
        return self.free + sum([self.held[r] for r in self.leaving])

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        held = self.held
        taken = sum([held[r] for r in waiting]) + sum([held[r] for r in self.coming])
        return taken + sum(needs(running, self.block, held)) <= self.blocks

    def first_that_fit(self, ordered: Sequence[Request], seats: int) -> list[Request]:
        first = list(ordered[:seats])
        coming = sum([self.held[r] for r in self.coming])
        return first[: as_many(needs(first, self.block, self.held), self.blocks - coming)]

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        refuse_larger(self.name, recorded, self.blocks, self.block)

    def make_room(self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int) -> int:
        waiting, needed = [r for r in self.holders if not r.running], needs(running, self.block, self.held)
        if waiting:
            waiting.sort(key=order)
            lacking = sum(needed) + sum([self.held[r] for r in (*waiting, *self.coming)]) - self.blocks
            while waiting and lacking > 0:
                lacking -= self.held[waiting[-1]]
                self.evict(waiting.pop(), now_ns)
        for request, blocks in zip(running, needed, strict=True):
            self.holders[request] = None
            self.held[request] = blocks
        return self._until_free(now_ns) - now_ns

    def _until_free(self, now_ns: int) -> int:
        """When so many have left that all who stay have their blocks."""
        at_ns, lacking = now_ns, -self.free
        for request, end_ns in sorted(self.leaving.items(), key=lambda item: item[1]):
            if lacking > 0:
                at_ns, lacking = max(at_ns, end_ns), lacking - self.held[request]
        return at_ns

    def evict(self, request: Request, at_ns: int) -> int:
        """A holder's cache begins its way out: nanoseconds until it is there."""
        del self.holders[request]
        self.leaving[request] = self._move("swap out", request, at_ns)
        return self.leaving[request] - at_ns

    def fetch(self, request: Request, at_ns: int) -> None:
        """A cache from outside begins its way in."""
        self.outside.remove(request)
        self.held[request] = self.needed(request)
        self.coming[request] = self._move("swap in", request, at_ns)

    def _move(self, kind: str, request: Request, at_ns: int) -> int:
        """When a move that its engine does next is over."""
        self.at_rest = False
        ns = self.move_ns(kind, request.kv_tokens - request.missing)
        start_ns = max(at_ns, self._engine_free_ns[kind])
        self._engine_free_ns[kind] = end_ns = start_ns + ns
        request.switch_ns += ns
        if self.moved is not None:
            self.moved(Move(kind, request, start_ns, end_ns))
        return end_ns

    def move_ns(self, kind: str, tokens: int) -> int:
        """What moving so many tokens takes."""
        return self.eviction.out_ns(tokens) if kind == "swap out" else self.eviction.back_ns(tokens)

    def usage(self) -> tuple[int, int]:
        return self._filled(self.held), self.block * sum(self.held.values())

    def release(self, request: Request) -> None:
        super().release(request)
        del self.held[request]

    def check(self) -> None:
        super().check()
        there = [*self.holders, *self.leaving, *self.coming]
        assert self.held.keys() == set(there)
        assert len(set(there)) == len(there)
        assert not self.outside.intersection(there)
