"""What becomes of an evicted KV cache, and what it takes to have it in memory again; by name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from traces import Costs


@dataclass(frozen=True)
class Eviction(ABC):
    """A way to evict.

    Attributes
    ----------
    back : str
        What having a cache again is called.
    """

    back: ClassVar[str]

    costs: Costs

    @abstractmethod
    def out_ns(self, tokens: int) -> int:
        """Nanoseconds to evict a cache of so many tokens."""

    @abstractmethod
    def back_ns(self, tokens: int) -> int:
        """Nanoseconds to have it in memory again."""


class Swap(Eviction):
    """The cache moves to host memory, and back."""

    back = "swap in"

    def out_ns(self, tokens: int) -> int:
        return self.costs.swap_out(tokens)

    def back_ns(self, tokens: int) -> int:
        return self.costs.swap_in(tokens)


class Recompute(Eviction):
    """The cache is dropped, and its tokens are prefilled again, but for the last, which the next round verifies."""

    back = "recompute"

    def out_ns(self, tokens: int) -> int:
        return 0

    def back_ns(self, tokens: int) -> int:
        return self.costs.prefill(tokens - 1) if tokens > 1 else 0


EVICTIONS: Mapping[str, type[Eviction]] = {"swap": Swap, "recompute": Recompute}
