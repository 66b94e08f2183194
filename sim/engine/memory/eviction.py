"""What becomes of an evicted KV cache, and what it takes to have it in memory again; by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lapsd.traces import Costs


@dataclass(frozen=True, slots=True)
class Eviction:
    """A way to evict.

    Attributes
    ----------
    out_ns, back_ns : functions of a cache's tokens
        Nanoseconds to evict it, and to have it in memory again.
    back : str
        What having it again is called.
    drops : bool
        An evicted cache is gone: what a request lacks (`Request.uncomputed_tokens`) is computed
        again.
    in_steps : bool
        That is done as prompts are, within steps that others share: bringing it in takes no time of
        its own.
    """

    out_ns: Callable[[int], int]
    back_ns: Callable[[int], int]
    back: str
    drops: bool = False
    in_steps: bool = False


def swap(costs: Costs) -> Eviction:
    """The cache moves to host memory, and back."""
    return Eviction(costs.swap_out, costs.swap_in, "swap in")


def recompute(costs: Costs) -> Eviction:
    """The cache is dropped, and its tokens are prefilled again, but for the last, which the next
    round verifies.
    """
    prefill = costs.prefill
    return Eviction(
        lambda tokens: 0,
        lambda tokens: prefill(tokens - 1) if tokens > 1 else 0,
        "recompute",
        drops=True,
    )


def recompute_in_steps(costs: Costs) -> Eviction:
    """The cache is dropped, and its tokens are prefilled as prompts are, in steps that others
    share.
    """
    return Eviction(lambda tokens: 0, lambda tokens: 0, "recompute", drops=True, in_steps=True)


EVICTIONS: Mapping[str, Callable[[Costs], Eviction]] = {"swap": swap, "recompute": recompute}
