"""Memory in blocks of tokens, after vLLM: taken as a request grows, and not overwritten before they
are needed.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapsd.sim.engine.memory.adds_up import AddsUp
from lapsd.sim.engine.memory.base import Limits, Order
from lapsd.sim.engine.memory.blocks import as_many, blocks_needed, blocks_of, refuse_larger
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


@dataclass(slots=True, eq=False)
class Freed:
    """Blocks that were freed together: the first ones of a request that may come back for them, or
    nobody's.
    """

    owner: Request | None
    blocks: int


class Paged(AddsUp):
    """Blocks of so many tokens: of who runs as many as its next round may fill, and never fewer
    than it had.

    Free blocks are overwritten in the order that they were freed. Who is evicted by `recompute`
    frees its blocks; those that it had filled are its own again if it comes back before they are
    overwritten, so that only what is gone is computed again. A request's last blocks are
    overwritten first. By `swap` all its blocks move out, and back.

    Parameters
    ----------
    blocks : how many there are.
    block : tokens of each.
    park : who does not run keeps its blocks until those who run lack some, and the worst is evicted
        first; else, by `recompute`, they are free at once. By `swap` only those go who must.
    """

    name = "paged"
    predictable = True

    def __init__(
        self, eviction: Eviction, blocks: int, block: int = 16, park: bool = False
    ) -> None:
        super().__init__(eviction)
        self.blocks, self.block = blocks, block
        self.parks = park or not eviction.drops
        self._held: dict[Request, int] = {}
        self._freed = deque([Freed(None, blocks)])  # the first is overwritten first
        self._left: dict[Request, Freed] = {}

    @classmethod
    def of(
        cls,
        eviction: Eviction,
        limits: Limits,
        *,
        block: int = 16,
        blocks: int = 0,
        park: bool = False,
    ) -> "Paged":
        return cls(eviction, blocks_of(cls.name, limits, block, blocks), block, park)

    def needs(self, request: Request) -> NDArray[np.int64]:
        return request.recorded.blocks_ahead(self.block)[request.rounds :]

    def needed(self, running: Sequence[Request]) -> int:
        return sum(blocks_needed(running, self.block, self._held))

    def room(self, waiting: Iterable[Request] = ()) -> int:
        return self.blocks - sum([self._held[r] for r in waiting])

    def first_that_fit(self, ordered: Sequence[Request], batch_slots: int) -> list[Request]:
        first = list(ordered[:batch_slots])
        return first[: as_many(blocks_needed(first, self.block, self._held), self.blocks)]

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        refuse_larger(self.name, recorded, self.blocks, self.block)

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        at_ns = now_ns
        waiting = [r for r in self.resident if not r.running]
        if any(r in self._left for r in fresh):  # what it finds depends on what was taken before
            self.catch_up()
        for request in waiting:
            self._catch_up(request)
        if waiting and not (self.parks and self.fits(running, waiting)):
            waiting.sort(key=order)
            while waiting and not (self.parks and self.fits(running, waiting)):
                at_ns += self.evict(waiting.pop(), at_ns)
        for request in fresh:
            if request not in self.resident:
                at_ns += self.bring_in(request, at_ns)
        for request, blocks in zip(
            running, blocks_needed(running, self.block, self._held), strict=True
        ):
            self._take(request, blocks)
        return at_ns - now_ns

    def catch_up(self) -> None:
        if self._left:
            for request in self.resident:
                self._catch_up(request)

    def _catch_up(self, request: Request) -> None:
        """Take what its last round took: nothing, unless the server skipped ahead to here."""
        if request.rounds and request.recorded.draft_tokens is not None:  # else no server skips
            self._take(request, -(-request.recorded.looks_ahead[request.rounds - 1] // self.block))

    def _take(self, request: Request, blocks: int) -> None:
        """Have at least so many blocks, overwriting what was freed first."""
        more = blocks - self._held[request]
        if more <= 0:
            return
        self._held[request] = blocks
        while more:
            assert self._freed, "blocks are taken that are not there"
            first = self._freed[0]
            taken = min(more, first.blocks)
            more -= taken
            first.blocks -= taken
            if first.owner is not None:
                first.owner.uncomputed_tokens = self._gone(first.owner, first.blocks)
                if not first.blocks:
                    del self._left[first.owner]
            if not first.blocks:
                self._freed.popleft()

    def _gone(self, request: Request, blocks: int) -> int:
        """Tokens of a cache that those blocks of it do not hold, but for the last, which the next
        round verifies.
        """
        return request.kv_tokens - 1 - blocks * self.block

    def evict(self, request: Request, at_ns: int) -> int:
        held, full = (
            self._held.pop(request),
            (request.kv_tokens - 1 - request.uncomputed_tokens) // self.block,
        )
        ns = super().evict(request, at_ns)
        if not self.eviction.drops or full < 1:
            self._freed.append(Freed(None, held))
            return ns
        request.uncomputed_tokens = self._gone(request, full)
        self._left[request] = Freed(request, full)
        self._freed += [Freed(None, held - full), self._left[request]]
        return ns

    def bring_in(self, request: Request, at_ns: int) -> int:
        freed = self._left.pop(request, None)
        self._held[request] = freed.blocks if freed else 0
        if freed:
            freed.owner, freed.blocks = None, 0
        return super().bring_in(request, at_ns)

    def release(self, request: Request) -> None:
        self._catch_up(request)
        super().release(request)
        self._freed.append(Freed(None, self._held.pop(request)))

    def usage(self) -> tuple[int, int]:
        return self._filled(self.resident), self.block * sum(self._held.values())

    def check(self) -> None:
        super().check()
        assert self._held.keys() == self.resident.keys()
        assert sum(self._held.values()) + sum(freed.blocks for freed in self._freed) == self.blocks
        for request, freed in self._left.items():
            assert freed.owner is request
            assert not request.running
            assert freed.blocks > 0
            assert request.uncomputed_tokens == self._gone(request, freed.blocks)
