"""Offloading by estimated waiting time, after ALISE (arXiv 2410.23537), whose Algorithm 2 was not
at hand.

Known of it: caches of requests that will wait long move to host memory, those of requests that will
not come back, and quantising halves what moves. The estimate, the watermarks and what makes way for
whom are our reading.
"""

from collections.abc import Sequence, Set

from lapsd.policies import NEVER
from lapsd.sim.engine.memory.base import Limits, Order
from lapsd.sim.engine.memory.blocks import as_many, blocks_needed, blocks_of
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.offload import Offload
from lapsd.sim.engine.request import Request

QUANTISED = ("none", "moved", "all")


class AliseMemory(Offload):
    """Above the high watermark the longest waits move out, down to the low one; below that the
    shortest come back.

    Parameters
    ----------
    high, low : watermarks, as shares of the blocks.
    int8 : `none` is quantised, what is `moved` (half as many bytes move), or `all` (twice as many
        tokens fit too).
    quantise_ns : what quantising a token takes, and what undoing it takes.
    overlap : moves go on beside rounds; else rounds wait for them.
    """

    name = "alise"

    def __init__(
        self,
        eviction: Eviction,
        batch: int,
        blocks: int,
        block: int,
        *,
        high: float,
        low: float,
        int8: str,
        quantise_ns: int,
        overlap: bool,
    ) -> None:
        super().__init__(eviction, batch, blocks, 2 * block if int8 == "all" else block)
        self.high, self.low = int(high * blocks), int(low * blocks)
        self.int8, self.quantise_ns, self.overlap = int8, quantise_ns, overlap

    @classmethod
    def of(
        cls,
        eviction: Eviction,
        limits: Limits,
        *,
        block: int = 16,
        blocks: int = 0,
        high: float = 0.95,
        low: float = 0.9,
        int8: str = "moved",
        quantise_ns: int = 0,
        overlap: bool = True,
    ) -> "AliseMemory":
        if eviction.drops:
            raise ValueError("memory alise: moves caches: evict must be swap")
        if not 0 <= low <= high <= 1:
            raise ValueError(f"memory alise: low {low}, high {high}: must be 0 <= low <= high <= 1")
        if int8 not in QUANTISED:
            raise ValueError(f"memory alise: int8 {int8!r}: must be {' or '.join(QUANTISED)}")
        if quantise_ns < 0:
            raise ValueError(f"memory alise: quantise_ns {quantise_ns}: must be at least 0")
        made = blocks_of(cls.name, limits, block, blocks)
        return cls(
            eviction,
            limits.batch,
            made,
            block,
            high=high,
            low=low,
            int8=int8,
            quantise_ns=quantise_ns,
            overlap=overlap,
        )

    def plan(self, ordered: Sequence[Request], now_ns: int) -> bool:
        if not self.swapped_out and self.blocks - self.soon_free <= self.high:
            return False
        turns = self._turns(ordered)
        turn = set(ordered[:turns])
        others = [r for r in self.resident if r not in turn]
        full = self.blocks - self.soon_free > self.high
        taken = self.blocks - self.free
        back = [
            r
            for r in self.swapped_out
            if r in turn or (not full and taken + self.needed((r,)) <= self.low)
        ]
        if not back and not (full and others):
            return False
        waits = self._waits(ordered, turns, {*others, *back}, now_ns)
        wants, left = False, len(self.leaving)
        others.sort(key=waits.__getitem__, reverse=True)
        if full:
            self._offload(others, now_ns)
        for request in sorted(back, key=waits.__getitem__):
            if request not in turn:
                # ahead of its turn, and not into what another's turn waits for
                if not wants and self.blocks - self.free + self.needed((request,)) <= self.low:
                    self.fetch(request, now_ns)
                continue
            room = self.needed((request,))
            while others and self.soon_free < room:
                self.evict(others.pop(0), now_ns)
            if self.free >= room:
                self.fetch(request, now_ns)
            else:
                wants = True
        return wants or len(self.leaving) > left

    def may_take(self, running: int) -> int:
        return self.high if len(self.resident) > running else self.blocks

    def _turns(self, ordered: Sequence[Request]) -> int:
        """Of how many it is the turn: of the first, as many as a batch whose next rounds fit the
        memory together.
        """
        return as_many(blocks_needed(ordered[: self.batch], self.block, self.held), self.blocks)

    def _offload(self, others: list[Request], now_ns: int) -> None:
        """Those who do not run move out, the first of those whose turn it is not, down to the low
        watermark.
        """
        for request in [r for r in others if not r.running]:
            if self.blocks - self.soon_free <= self.low:
                break
            others.remove(request)
            self.evict(request, now_ns)

    def _waits(
        self, ordered: Sequence[Request], turns: int, whose: Set[Request], now_ns: int
    ) -> dict[Request, tuple[int, int]]:
        """Estimated waiting times of some, in order of turns where they are equal.

        Until those before have run, as many at a time as have their turn, or the request rises in
        rank, whichever comes first.
        """
        before_ns, waits = 0, {}
        for turn, request in enumerate(ordered):
            if request in whose:
                ns = before_ns // turns if turn >= turns else 0
                wake_ns = NEVER if request.running else self.estimate.wake(request, now_ns)
                waits[request] = (min(ns, wake_ns - now_ns), turn)
            before_ns += self.estimate.remaining_ns(request)
        return waits

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        ns = super().make_room(running, fresh, order, now_ns)
        return (
            ns
            if self.overlap
            else max(ns, *(end_ns - now_ns for end_ns in self._engine_free_ns.values()))
        )

    def transfer_ns(self, kind: str, tokens: int) -> int:
        if self.int8 == "none":
            return super().transfer_ns(kind, tokens)
        return super().transfer_ns(kind, -(-tokens // 2)) + tokens * self.quantise_ns
