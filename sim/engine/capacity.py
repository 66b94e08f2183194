"""What a server can run and hold at once."""

from dataclasses import dataclass

from sim.engine.memory import EVICTIONS, Memory, Slots, Tokens
from sim.engine.prefill import PREFILLS
from traces import Costs


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
        for name, known in (("evict", EVICTIONS), ("prefill", PREFILLS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: must be {' or '.join(known)}")

    def memory(self, costs: Costs) -> Memory:
        """A server's memory, empty."""
        eviction = EVICTIONS[self.evict](costs)
        if self.kv_tokens is not None:
            return Tokens(eviction, self.kv_slots, self.kv_tokens)
        return Slots(eviction, self.kv_slots)

    def move_ns(self, costs: Costs, tokens: int) -> tuple[int, int]:
        """What it takes to evict a cache of so many tokens and to have it back; nothing where all caches fit."""
        if self.kv_slots is None and self.kv_tokens is None:
            return 0, 0
        eviction = EVICTIONS[self.evict](costs)
        return eviction.out_ns(tokens), eviction.back_ns(tokens)
