"""Ways to evict a KV cache, by name: what becomes of it, and the time that its return takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lapsd.traces import Costs


@dataclass(frozen=True, slots=True)
class Eviction:
    """A way to evict.

    Attributes
    ----------
    out_ns, back_ns : functions of a cache's tokens
        Time in nanoseconds to evict the cache, and to have it in memory again.
    back : str
        Name of the transfer back.
    drops : bool
        Whether an evicted cache is dropped, so that its tokens (`Request.uncomputed_tokens`) are
        computed again.
    in_steps : bool
        Whether that is done in steps that rounds share, so that bringing it in takes no time of its
        own.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS
    >>> costs = lapsd.Profile.constant(draft_ms=1.0, verify_ms=20.0, swap_ms=5.0).costs
    >>> eviction = EVICTIONS["swap"](costs)
    >>> eviction.out_ns(100) + eviction.back_ns(100), eviction.drops
    (10000000, False)
    """

    out_ns: Callable[[int], int]
    back_ns: Callable[[int], int]
    back: str
    drops: bool = False
    in_steps: bool = False


def swap(costs: Costs) -> Eviction:
    """Transfer the cache to host memory, and back."""
    return Eviction(costs.swap_out, costs.swap_in, "swap in")


def recompute(costs: Costs) -> Eviction:
    """Drop the cache, and prefill its tokens again except for the last one, which the next round
    verifies.
    """
    prefill = costs.prefill
    return Eviction(
        lambda tokens: 0,
        lambda tokens: prefill(tokens - 1) if tokens > 1 else 0,
        "recompute",
        drops=True,
    )


def recompute_in_steps(costs: Costs) -> Eviction:
    """Drop the cache, and prefill its tokens as prompts are, in steps that rounds share.

    Parameters
    ----------
    costs : Costs
        Cost terms of the profile.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import recompute_in_steps
    >>> eviction = recompute_in_steps(lapsd.load_profile("reference").costs)
    >>> eviction.drops, eviction.in_steps, eviction.back_ns(100)
    (True, True, 0)
    """
    return Eviction(lambda tokens: 0, lambda tokens: 0, "recompute", drops=True, in_steps=True)


EVICTIONS: Mapping[str, Callable[[Costs], Eviction]] = {"swap": swap, "recompute": recompute}
"""The function that makes each way to evict from cost terms, by its name: mapping of str to
callable.

Examples
--------
>>> from lapsd.sim.engine.memory import EVICTIONS
>>> list(EVICTIONS)
['swap', 'recompute']
"""
