"""Proactive swapping, after FastServe's public artifact (LLMServe/FastServe at 187a274)."""

from collections.abc import Iterable, Sequence

from lapsd.policies import NEVER
from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.memory.blocks import blocks_of
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.offload import Offload
from lapsd.sim.engine.request import Request


class FastServeMemory(Offload):
    """Keeps as many blocks free as requests run together: who is last moves out, and who is first
    comes back.

    Parameters
    ----------
    host : tokens that fit in host memory; 0: all. Where less than a tenth of them is left, no
    newcomer starts.
    """

    name = "fastserve"
    asks_of_all = False

    def __init__(
        self, eviction: Eviction, batch: int, blocks: int, block: int = 16, host: int = 0
    ) -> None:
        super().__init__(eviction, batch, blocks, block)
        self.host = host
        self.predictable = not host  # else newcomers wait for host memory

    @classmethod
    def of(
        cls, eviction: Eviction, limits: Limits, *, block: int = 16, blocks: int = 0, host: int = 0
    ) -> "FastServeMemory":
        if eviction.drops:
            raise ValueError("memory fastserve: moves caches: evict must be swap")
        if host < 0:
            raise ValueError(f"memory fastserve: host {host}: must be at least 0 tokens")
        return cls(eviction, limits.batch, blocks_of(cls.name, limits, block, blocks), block, host)

    def plan(self, ordered: Sequence[Request], now_ns: int) -> bool:
        free, evicted = self.soon_free, False
        if free < self.batch and len(self.resident) > 1:
            there = [r for r in ordered if r in self.resident]
            while free < self.batch and len(there) > 1:
                self.evict(last := there.pop(), now_ns)
                free, evicted = free + self.held[last], True
        able = [r for r in ordered if r.started] if self._is_closed() else ordered
        if back := [r for r in able[: self.batch] if r in self.swapped_out]:
            free = self.free
            for request in back:
                kept = self.batch if self.resident or self.coming else 0  # else nobody could run
                if self.needed((request,)) + kept > free:
                    break
                if evicted:
                    return True
                self.fetch(request, now_ns)
                free -= self.held[request]
        return False

    def may_take(self, running: int) -> int:
        return self.blocks - self.batch if len(self.resident) > 1 else self.blocks

    def ready(self, ordered: Sequence[Request], now_ns: int) -> Iterable[Request]:
        ready = super().ready(ordered, now_ns)
        return (r for r in ready if self.ready_ns(r, now_ns) <= now_ns) if self.host else ready

    def ready_ns(self, request: Request, now_ns: int) -> int:
        return (
            NEVER
            if not request.started and self._is_closed()
            else super().ready_ns(request, now_ns)
        )

    def _is_closed(self) -> bool:
        """Whether host memory is so full that no newcomer starts."""
        if not self.host:
            return False
        used = sum(r.kv_tokens - r.uncomputed_tokens for r in (*self.swapped_out, *self.leaving))
        return 10 * (self.host - used) < self.host
