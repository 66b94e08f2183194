"""Swapping by estimated waiting time, after ALISE (arXiv 2410.23537).

We had no access to its Algorithm 2. What is known of it: caches of requests with a long wait ahead
move to host memory, caches of requests with a short one come back, and quantization halves what is
transferred. The estimate, the watermarks and the choice of caches are our interpretation.
"""

from collections.abc import Sequence, Set

from lapsd.policies import NEVER
from lapsd.sim.engine.memory.base import Limits, Order
from lapsd.sim.engine.memory.blocks import blocks_of, count_that_fit
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.offload import Offload
from lapsd.sim.engine.request import Request

QUANTISED = ("none", "moved", "all")


class AliseMemory(Offload):
    """Above the high watermark the requests with the longest waits are swapped out, down to the low
    watermark; below it those with the shortest waits come back.

    Parameters
    ----------
    high, low : float
        Watermarks, as shares of the blocks.
    int8 : str
        What is quantized: `none`; `moved`, what is transferred, which takes half the time; or
        `all`, so that twice as many tokens fit too.
    quantise_ns : int
        Time to quantize a token, and to reverse it.
    overlap : bool
        Whether transfers overlap with rounds; else rounds wait for them.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory(
    ...     "alise:high=0.9", swap, lapsd.Capacity(batch=4, kv_tokens=1600)
    ... )
    >>> type(memory).__name__, memory.limited
    ('AliseMemory', True)
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

    def plan(self, ordered: Sequence[Request], now_ns: int) -> None:
        full = self.blocks - self.soon_free > self.high
        if not self.swapped_out and not full:
            return
        turns = count_that_fit(map(self.needs, ordered[: self.batch]), self.blocks)
        have_turn = set(ordered[:turns])
        others = [r for r in self.resident if r not in have_turn]
        waits = self._waits(ordered, turns, {*others, *self.swapped_out}, now_ns)
        others.sort(key=waits.__getitem__, reverse=True)
        if full:
            self._offload(others, now_ns)
        lacking = False
        for request in sorted(self.swapped_out, key=waits.__getitem__):
            if request in have_turn:
                lacking |= not self._fetch_for_turn(request, others, now_ns)
                continue
            held = self.blocks - self.free + self.needs(request)
            # not into what a request that has its turn waits for
            if not (full or lacking) and held <= self.low:
                self.fetch(request, now_ns)

    def _offload(self, others: list[Request], now_ns: int) -> None:
        """Swap out waiting requests, the first of `others` first, down to the low watermark."""
        for request in [r for r in others if not r.running]:
            if self.blocks - self.soon_free <= self.low:
                break
            others.remove(request)
            self.evict(request, now_ns)

    def _fetch_for_turn(self, request: Request, others: list[Request], now_ns: int) -> bool:
        """Make room for a request that has its turn; return whether it could be swapped in."""
        needed = self.needs(request)
        while others and self.soon_free < needed:
            self.evict(others.pop(0), now_ns)
        if self.free < needed:
            return False
        self.fetch(request, now_ns)
        return True

    def _waits(
        self, ordered: Sequence[Request], turns: int, whose: Set[Request], now_ns: int
    ) -> dict[Request, tuple[int, int]]:
        """Return the estimated waiting times of some requests, each with its place in the order.

        A request waits until the requests before it have run, as many at a time as have their turn,
        or until its rank falls, whichever comes first.
        """
        before_ns, waits = 0, {}
        for turn, request in enumerate(ordered):
            if request in whose:
                ns = before_ns // turns if turn >= turns else 0
                wake_ns = NEVER if request.running else self.estimate.wake(request, now_ns)
                waits[request] = (min(ns, wake_ns - now_ns), turn)
            before_ns = min(before_ns + self.estimate.remaining_ns(request, now_ns), NEVER)
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
