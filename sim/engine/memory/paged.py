"""Memory in blocks of tokens, after vLLM: requests take blocks as they grow, and free blocks keep
their tokens until they are taken, for their own request (`Paged`) or for all requests with the same
leading blocks (`PagedPrefixes`).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from lapsd.sim.engine.memory.base import Limits, Order
from lapsd.sim.engine.memory.blocks import blocks_needed, blocks_of, refuse_larger
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.prefix_cache import PrefixCache
from lapsd.sim.engine.memory.room import Room
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


@dataclass(slots=True, eq=False)
class Freed:
    """Blocks that were freed together: the first blocks of a request that may come back for them,
    or, without an owner, any.
    """

    owner: Request | None
    blocks: int


class Blocks(Room):
    """A number of blocks, of which a running request has as many as its next round may fill, and
    never fewer than before.

    Parameters
    ----------
    blocks : int
        Number of blocks.
    block : int
        Tokens of each block.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, Blocks, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory(
    ...     "paged:block=32", swap, lapsd.Capacity(batch=4, kv_tokens=1600)
    ... )
    >>> type(memory).__name__, memory.limited
    ('Paged', True)
    >>> isinstance(memory, Blocks)
    True
    """

    name = "paged"

    def __init__(self, eviction: Eviction, blocks: int, block: int) -> None:
        super().__init__(eviction, blocks)
        self.blocks, self.block = blocks, block
        self._held: dict[Request, int] = {}

    def needs(self, request: Request) -> int:
        return blocks_needed(request, self.block, self._held.get(request, 0))

    def keeps(self, request: Request) -> int:
        return self._held[request]

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        refuse_larger(self.name, recorded, self.blocks, self.block)


class Paged(Blocks):
    """Blocks, of which the free ones form a line.

    Free blocks are taken in the order in which they were freed. A request that is evicted by
    `recompute` frees its blocks. Those of them that were full are its own again if it comes back
    before they are taken, so that only the other tokens are computed again. The last blocks of a
    request are taken first. With `swap` all its blocks are transferred.

    Parameters
    ----------
    blocks : int
        Number of blocks.
    block : int, default 16
        Tokens of each block.
    park : bool, default False
        Whether a waiting request keeps its blocks until running requests lack some, and the last in
        order is evicted first; else, with `recompute`, every waiting request is evicted.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory(
    ...     "paged:block=16+park=true", swap, lapsd.Capacity(batch=4, kv_tokens=1600)
    ... )
    >>> type(memory).__name__, memory.limited
    ('Paged', True)
    >>> memory.usage()
    (0, 0)
    """

    def __init__(
        self, eviction: Eviction, blocks: int, block: int = 16, park: bool = False
    ) -> None:
        super().__init__(eviction, blocks, block)
        self.parks = park or not eviction.drops
        self._line = deque([Freed(None, blocks)])  # free blocks; the first are taken first
        self._owned: dict[Request, Freed] = {}  # by evicted request

    @classmethod
    def of(
        cls,
        eviction: Eviction,
        limits: Limits,
        *,
        block: int = 16,
        blocks: int = 0,
        park: bool = False,
    ) -> "Paged":
        return cls(eviction, blocks_of(cls.name, limits, block, blocks), block, park)

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        at_ns = now_ns
        waiting = sorted([r for r in self.resident if not r.running], key=order)
        while waiting and not (self.parks and self.fits(running, waiting)):
            at_ns += self.evict(waiting.pop(), at_ns)
        for request in fresh:
            if request not in self.resident:
                at_ns += self.bring_in(request, at_ns)
        for request in running:
            self._take(request, self.needs(request))
        return at_ns - now_ns

    def _take(self, request: Request, blocks: int) -> None:
        """Let a request have so many blocks, taking the missing ones from the front of the line."""
        more = blocks - self._held[request]
        self._held[request] = blocks
        while more:
            assert self._line, "blocks are taken that are not there"
            first = self._line[0]
            taken = min(more, first.blocks)
            more -= taken
            first.blocks -= taken
            if first.owner is not None:
                first.owner.uncomputed_tokens = self._lacks(first.owner, first.blocks)
                if not first.blocks:
                    del self._owned[first.owner]
            if not first.blocks:
                self._line.popleft()

    def _lacks(self, request: Request, blocks: int) -> int:
        """Return the tokens of a request that so many of its blocks do not hold, without the last
        token, which the next round verifies.
        """
        return request.kv_tokens - 1 - blocks * self.block

    def evict(self, request: Request, at_ns: int) -> int:
        held = self._held.pop(request)
        full = (request.kv_tokens - 1 - request.uncomputed_tokens) // self.block
        ns = super().evict(request, at_ns)
        if not self.eviction.drops or full < 1:
            self._line.append(Freed(None, held))
            return ns
        request.uncomputed_tokens = self._lacks(request, full)
        self._owned[request] = Freed(request, full)
        self._line += [Freed(None, held - full), self._owned[request]]
        return ns

    def bring_in(self, request: Request, at_ns: int) -> int:
        own = self._owned.pop(request, None)
        self._held[request] = own.blocks if own else 0
        if own:
            own.owner, own.blocks = None, 0
        return super().bring_in(request, at_ns)

    def release(self, request: Request) -> None:
        super().release(request)
        self._line.append(Freed(None, self._held.pop(request)))

    def usage(self) -> tuple[int, int]:
        return self._filled(self.resident), self.block * sum(self._held.values())

    def check(self) -> None:
        super().check()
        assert self._held.keys() == self.resident.keys()
        assert sum(self._held.values()) + sum(freed.blocks for freed in self._line) == self.blocks
        for request, freed in self._owned.items():
            assert freed.owner is request
            assert not request.running
            assert freed.blocks > 0
            assert request.uncomputed_tokens == self._lacks(request, freed.blocks)


class PagedPrefixes(Blocks):
    """Blocks, of which those with equal leading tokens of prompts are shared.

    A running request uses the blocks of its prompt that have a hash, which count once for all
    requests that use them. Every waiting request is evicted. The prompt blocks of an evicted or
    finished request stay cached until blocks are lacking; then the least recently used ones are
    dropped. A request that comes into memory computes only what follows its cached leading blocks.

    Parameters
    ----------
    hashed : int
        Tokens of each block that has a hash, a multiple of `block`.

    Examples
    --------
    >>> import lapsd
    >>> capacity = lapsd.Capacity(
    ...     batch=4, kv_tokens=1600, evict="recompute", manager="paged", prefix_cache=True
    ... )
    >>> capacity.prefix_cache
    True
    """

    parks = False

    def __init__(self, eviction: Eviction, blocks: int, block: int, hashed: int) -> None:
        super().__init__(eviction, blocks, block)
        self.hashed, self.cache = hashed, PrefixCache()

    @classmethod
    def of(
        cls, eviction: Eviction, limits: Limits, *, block: int = 16, blocks: int = 0
    ) -> "PagedPrefixes":
        return cls(eviction, blocks_of(cls.name, limits, block, blocks), block, block)

    def cached_tokens(self, request: Request) -> int:
        return self.hashed * self.cache.found(request.recorded.hashes)

    @property
    def filled_tokens(self) -> int:
        return self.hashed * len(self.cache)

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        units = sum(map(self.needs, running)) + sum(map(self.keeps, waiting))
        return units - self._saved([*running, *waiting]) <= self.blocks

    def _saved(self, requests: Sequence[Request]) -> int:
        """Return the blocks that requests save because they share some."""
        used = [hash_ for request in requests for hash_ in request.recorded.hashes]
        return self.hashed // self.block * (len(used) - len(set(used)))

    def look_up(self, request: Request) -> None:
        if request in self.resident:
            return
        cached = self.cached_tokens(request)
        if not request.started:
            request.cached_tokens = cached
        if request.started or self.eviction.in_steps:
            request.uncomputed_tokens = max(0, request.kv_tokens - 1) - cached

    def schedule(self, request: Request, tokens: int) -> None:
        computed = request.kv_tokens - 1 - request.uncomputed_tokens + tokens
        self.cache.computed.update(request.recorded.hashes[: computed // self.hashed])

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        at_ns = now_ns
        waiting = sorted([r for r in self.resident if not r.running], key=order)
        for request in reversed(waiting):
            at_ns += self.evict(request, at_ns)
        for request in fresh:
            at_ns += self.bring_in(request, at_ns)
        for request in running:
            self._held[request] = self.needs(request)
        occupied = sum(self._held.values()) - self._saved(running)
        unused = len(self.cache.unused) * (self.hashed // self.block)
        while occupied + unused > self.blocks:
            self.cache.evict()
            unused -= self.hashed // self.block
        return at_ns - now_ns

    def evict(self, request: Request, at_ns: int) -> int:
        del self._held[request]
        self.cache.leave(request.recorded.hashes)
        return super().evict(request, at_ns)

    def bring_in(self, request: Request, at_ns: int) -> int:
        if not self.eviction.in_steps:
            self.look_up(request)
            self.cache.computed.update(request.recorded.hashes)
        self.cache.use(request.recorded.hashes)
        self._held[request] = 0
        return super().bring_in(request, at_ns)

    def release(self, request: Request) -> None:
        super().release(request)
        del self._held[request]
        self.cache.leave(request.recorded.hashes)

    def usage(self) -> tuple[int, int]:
        occupied = sum(self._held.values()) - self._saved(list(self.resident))
        filled = [
            hash_
            for r in self.resident
            for hash_ in r.recorded.hashes[: (r.kv_tokens - 1 - r.uncomputed_tokens) // self.hashed]
        ]
        twice = self.hashed * (len(filled) - len(set(filled)))
        return self._filled(self.resident) - twice, self.block * occupied

    def check(self) -> None:
        super().check()
        self.cache.check()
        assert self._held.keys() == self.resident.keys()
        used = {hash_ for request in self.resident for hash_ in request.recorded.hashes}
        assert used == self.cache.users.keys()
        occupied = sum(self._held.values()) - self._saved(list(self.resident))
        assert occupied + len(self.cache.unused) * (self.hashed // self.block) <= self.blocks
