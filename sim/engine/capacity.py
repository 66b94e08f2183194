"""What a server can run and hold at once."""

from collections.abc import Callable
from dataclasses import dataclass

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
        for name, known in (("evict", ("swap", "recompute")), ("prefill", ("alone", "batched"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: must be {' or '.join(known)}")

    def fits(self, caches: int, tokens: int) -> bool:
        """Whether so many caches, holding so many tokens together, fit the memory."""
        return (self.kv_slots is None or caches <= self.kv_slots) and (
            self.kv_tokens is None or tokens <= self.kv_tokens
        )

    def moves(self, costs: Costs) -> tuple[Callable[[int], int], Callable[[int], int]]:
        """What it takes to evict a cache, and to have it in memory again, by its tokens."""
        if self.evict == "swap":
            return costs.swap_out, costs.swap_in
        # all but the last token, which the next round verifies with its drafts
        return (lambda tokens: 0), (lambda tokens: costs.prefill(tokens - 1) if tokens > 1 else 0)
