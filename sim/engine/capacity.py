"""What a server can run and hold at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from lapsd.policies.kv_slots import KVSlots, slot_limit
from lapsd.sim.engine.drafting import AS_SENT, Drafting
from lapsd.sim.engine.memory import (
    EVICTIONS,
    Memory,
    Paged,
    PagedPrefixes,
    parse_memory,
    recompute_in_steps,
)
from lapsd.sim.engine.memory.base import MOST_UNITS
from lapsd.sim.engine.prefill import PREFILLS, in_steps
from lapsd.sim.engine.recorded import Recorded
from lapsd.traces import Costs, Linear, PricedTrace

MOST_BATCH = 100_000  # as in files of profiles
FREE = Costs({}, prefill=Linear(0, 0), swap_out=Linear(0, 0), swap_in=Linear(0, 0))


@dataclass(frozen=True)
class Capacity:
    """What a server can run and hold at once.

    Parameters
    ----------
    batch : int, default 1
        Requests that run a round together, at least 1.
    kv_slots : int, 'auto' or 'unlimited', default 'auto'
        Requests whose KV caches fit in memory, at least `batch`; `unlimited`; or `auto`: 1 at batch
        size 1, so that every switch pays, and unlimited in batches.
    kv_tokens : int or None, optional
        Tokens whose keys and values fit, running requests with what their next round may add; None:
        no limit.
    evict : str, default 'swap'
        `swap` moves a cache to host memory and back; `recompute` drops it and prefills its tokens
        again.
    prefill : str, default 'alone'
        Prompts of one decision `alone`, one after the other; `batched`, all their tokens in one
        pass; `mixed`, whole, in one step with the rounds of the decoding requests; or `chunked`, as
        the token budget allows.
    manager : str, default 'auto'
        Name of the memory manager, with parameters as in `paged:block=32+park=true`; `auto`:
        `tokens` if `kv_tokens` is given, else `slots`.
    token_budget : int, default 2048
        Tokens of a chunked step, drafts and the one more that each round adds counted.
    drafting : Drafting, default AS_SENT
        How drafts are verified whose lengths a draft policy chooses.
    prefix_cache : bool, default False
        Whether requests share the blocks of equal leading parts of their prompts, which stay
        cached; needs the manager `paged` and `evict="recompute"`.

    Raises
    ------
    ValueError
        Naming the parameter, its value and the bound.

    Examples
    --------
    >>> import lapsd
    >>> capacity = lapsd.Capacity(
    ...     batch=8, kv_tokens=4000, evict="recompute", manager="paged:block=16"
    ... )
    >>> capacity.slots is None  # as many KV caches as fit
    True
    >>> lapsd.Capacity(batch=0)
    Traceback (most recent call last):
        ...
    ValueError: batch=0: must be at least 1
    """

    batch: int = 1
    kv_slots: KVSlots = "auto"
    kv_tokens: int | None = None
    evict: str = "swap"
    prefill: str = "alone"
    manager: str = "auto"
    token_budget: int = 2048
    drafting: Drafting = AS_SENT
    prefix_cache: bool = False

    def __post_init__(self) -> None:
        slots = slot_limit(self.kv_slots, self.batch)  # refuses what it does not know
        for name, value, most in (
            ("batch", self.batch, MOST_BATCH),
            ("kv_slots", slots, MOST_UNITS),
            ("kv_tokens", self.kv_tokens, MOST_UNITS),
            ("token_budget", self.token_budget, MOST_UNITS),
        ):
            if value is not None and not isinstance(value, Integral):
                raise ValueError(f"{name}={value!r}: must be a whole number")
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
            if value is not None and value > most:
                raise ValueError(f"{name}={value}: must be at most {most}")
        for name, known in (("evict", EVICTIONS), ("prefill", PREFILLS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: must be {' or '.join(known)}")
        memory = self.memory(FREE)  # refuses what it does not know

        if self.prefix_cache and not (isinstance(memory, Paged) and not memory.parks):
            raise ValueError(
                f"prefix_cache=true with memory {self.manager} and evict {self.evict}: needs memory"
                " paged, without park, and evict recompute"
            )

    @property
    def slots(self) -> int | None:
        """Requests whose KV caches fit in memory; None: no limit."""
        return slot_limit(self.kv_slots, self.batch)

    @property
    def in_steps(self) -> bool:
        """Whether prompts are prefilled in steps that others share."""
        return PREFILLS[self.prefill] is in_steps

    @property
    def budget(self) -> int | None:
        """Tokens of a step, if they are limited."""
        return self.token_budget if self.prefill == "chunked" else None

    def memory(self, costs: Costs) -> Memory:
        """A server's memory, empty.

        Raises
        ------
        ValueError
            Naming the manager, and what it lacks or the parameter that is out of bounds.
        """
        eviction = EVICTIONS[self.evict](costs)
        if eviction.drops and self.in_steps:
            eviction = recompute_in_steps(costs)
        auto = "slots" if self.kv_tokens is None else "tokens"
        return parse_memory(auto if self.manager == "auto" else self.manager, eviction, self)

    def memory_for(self, priced: PricedTrace) -> Memory:
        """A server's memory for requests of a trace, empty; with their prefixes, if it caches them.

        Raises
        ------
        ValueError
            If prefixes are to be cached, and the trace has none, or has blocks that consist of no
            whole number of blocks of memory.
        """
        memory, prefixes = self.memory(priced.profile.costs), priced.trace.prefixes
        if not self.prefix_cache:
            return memory
        assert isinstance(memory, Paged)
        if prefixes is None:
            raise ValueError(
                "prefix_cache=true: the trace has no hashes of prompts (column prefix_hashes);"
                " lapsd generate makes some with --sessions, or with Mooncake's --lengths"
            )
        if prefixes.block % memory.block:
            raise ValueError(
                f"memory paged: block {memory.block}: must divide the trace's prefix_block,"
                f" {prefixes.block}, for a prefix_cache"
            )
        return PagedPrefixes(memory.eviction, memory.blocks, memory.block, prefixes.block)

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        """Raise `ValueError`, naming request and bound, if a round of one of these exceeds the
        budget even alone.
        """
        if self.budget is None:
            return
        for index, rounds in enumerate(recorded):
            if (need := rounds.longest_draft + 1) > self.budget:
                raise ValueError(
                    f"token_budget {self.budget}: a round of request {index} takes {need} tokens"
                )

    def transfer_ns(self, costs: Costs, tokens: int) -> tuple[int, int]:
        """What it takes to evict a cache of so many tokens and to have it back; nothing where all
        caches fit.
        """
        memory = self.memory(costs)
        if not memory.limited:
            return 0, 0
        return memory.eviction.out_ns(tokens), memory.eviction.back_ns(tokens)
