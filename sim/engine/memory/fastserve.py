"""Proactive swapping, after FastServe's public artifact (LLMServe/FastServe at 187a274)."""

from collections.abc import Sequence

from lapsd.policies import NEVER
from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.memory.blocks import blocks_of
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.offload import Offload
from lapsd.sim.engine.request import Request


class FastServeMemory(Offload):
    """As many free blocks as requests run together: the last requests are swapped out, and the
    first ones come back.

    Parameters
    ----------
    host : int, default 0
        Tokens of host memory; 0: no limit. While less than a tenth of them is left, no new request
        starts. The tokens of caches that are swapped out or on their way out are used; those of
        caches on their way in are not.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory(
    ...     "fastserve:block=16", swap, lapsd.Capacity(batch=4, kv_tokens=1600)
    ... )
    >>> type(memory).__name__, memory.limited
    ('FastServeMemory', True)
    """

    name = "fastserve"

    def __init__(
        self, eviction: Eviction, batch: int, blocks: int, block: int = 16, host: int = 0
    ) -> None:
        super().__init__(eviction, batch, blocks, block)
        self.host = host

    @classmethod
    def of(
        cls, eviction: Eviction, limits: Limits, *, block: int = 16, blocks: int = 0, host: int = 0
    ) -> "FastServeMemory":
        if eviction.drops:
            raise ValueError("memory fastserve: moves caches: evict must be swap")
        if host < 0:
            raise ValueError(f"memory fastserve: host {host}: must be at least 0 tokens")
        return cls(eviction, limits.batch, blocks_of(cls.name, limits, block, blocks), block, host)

    def plan(self, ordered: Sequence[Request], now_ns: int) -> None:
        evicted = False
        there = [r for r in ordered if r in self.resident]
        while self.soon_free < self.batch and len(there) > 1:
            self.evict(there.pop(), now_ns)
            evicted = True
        if evicted:
            return
        able = [r for r in ordered if r.started] if self._is_closed() else ordered
        for request in able[: self.batch]:
            if request in self.swapped_out:
                kept = self.batch if self.resident or self.coming else 0  # else none could run
                if self.needs(request) + kept > self.free:
                    return
                self.fetch(request, now_ns)

    def ready_ns(self, request: Request, now_ns: int) -> int:
        if not request.started and self._is_closed():
            return NEVER
        return super().ready_ns(request, now_ns)

    def _is_closed(self) -> bool:
        """Return whether host memory is so full that no new request may start."""
        if not self.host:
            return False
        used = sum(r.kv_tokens - r.uncomputed_tokens for r in (*self.swapped_out, *self.leaving))
        return 10 * (self.host - used) < self.host
