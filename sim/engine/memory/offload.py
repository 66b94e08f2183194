"""Caches that move beside rounds: blocks of tokens, and one copy engine for each direction, on the server's clock.

What managers that offload ahead of need have in common; who leaves and who comes back is theirs (`plan`).
"""

from abc import abstractmethod
from collections.abc import Sequence

from policies import NEVER
from sim.engine.memory.base import Memory, Move, Order
from sim.engine.memory.blocks import refuse_larger
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
    """

    def __init__(self, eviction: Eviction, batch: int, blocks: int, block: int) -> None:
        super().__init__(eviction)
        self.batch, self.blocks, self.block = batch, blocks, block
        self.held: dict[Request, int] = {}  # blocks, of holders and of who is on its way
        self.leaving: dict[Request, int] = {}  # until when
        self.coming: dict[Request, int] = {}
        self.outside: set[Request] = set()
        self._engine_free_ns = {"swap out": 0, "swap in": 0}

    @abstractmethod
    def plan(self, ordered: Sequence[Request], now_ns: int) -> None:
        """Send holders away and fetch caches from outside, as it is best for those there, in order."""

    def ready(self, ordered: Sequence[Request], now_ns: int) -> list[Request]:
        self._land(now_ns)
        self.plan(ordered, now_ns)
        if self._land(now_ns):  # moves that take no time make room at once
            self.plan(ordered, now_ns)
            self._land(now_ns)
        return super().ready(ordered, now_ns)

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

    def needed(self, request: Request) -> int:
        """Its blocks in its next round."""
        blocks = -(-request.kv_needed // self.block)
        held = self.held.get(request, 0)
        return blocks if blocks > held else held

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
        return taken + sum(map(self.needed, running)) <= self.blocks

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        refuse_larger(self.name, recorded, self.blocks, self.block)

    def make_room(self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int) -> int:
        waiting = [r for r in self.holders if not r.running]
        if waiting and not self.fits(running, waiting):
            waiting.sort(key=order)
            while waiting and not self.fits(running, waiting):
                self.evict(waiting.pop(), now_ns)
        for request in running:
            self.holders[request] = None
            self.held[request] = self.needed(request)
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
