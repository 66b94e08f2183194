"""Asynchronous KV transfers: blocks of tokens, and one transfer engine for each direction.

This is what managers with transfers that overlap with rounds have in common; their `plan` decides
which caches to transfer.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

from lapsd.policies import NEVER
from lapsd.sim.engine.memory.base import Order, Transfer
from lapsd.sim.engine.memory.blocks import blocks_needed, refuse_larger
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.room import Room
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


class Offload(Room):
    """A number of blocks; a cache on its way out or in holds its blocks, and its request cannot
    run.

    A transfer begins when its engine is free, and overlaps with rounds. Rounds wait only where the
    running requests lack free blocks: then the last of the waiting resident requests are swapped
    out, and the round begins once they have left.

    Parameters
    ----------
    batch : int
        Number of requests that run together.
    blocks, block : int
        Number of blocks, and the tokens of each.

    Attributes
    ----------
    held : dict of int by Request
        Blocks of resident requests and of requests whose cache is on its way.
    leaving, coming : dict of int by Request
        End of the transfer of each cache on its way out, and in, in nanoseconds.
    swapped_out : set of Request

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, Offload, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory("fastserve", swap, lapsd.Capacity(batch=4, kv_tokens=1600))
    >>> type(memory).__name__, memory.limited
    ('FastServeMemory', True)
    >>> isinstance(memory, Offload)
    True
    """

    def __init__(self, eviction: Eviction, batch: int, blocks: int, block: int) -> None:
        super().__init__(eviction, blocks)
        self.batch, self.blocks, self.block = batch, blocks, block
        self.held: dict[Request, int] = {}
        self.leaving: dict[Request, int] = {}
        self.coming: dict[Request, int] = {}
        self.swapped_out: set[Request] = set()
        self._engine_free_ns = {"swap out": 0, "swap in": 0}

    @abstractmethod
    def plan(self, ordered: Sequence[Request], now_ns: int) -> None:
        """Issue transfers, given all active requests in order."""

    def ready(self, ordered: Sequence[Request], now_ns: int) -> Iterable[Request]:
        self._land(now_ns)
        self.plan(ordered, now_ns)
        if self._land(now_ns):  # transfers that take no time make room at once
            self.plan(ordered, now_ns)
            self._land(now_ns)
        return super().ready(ordered, now_ns)

    def _land(self, now_ns: int) -> bool:
        """Complete the transfers that have ended; return whether there were any."""
        left = [r for r, end_ns in self.leaving.items() if end_ns <= now_ns]
        for request in left:
            del self.leaving[request], self.held[request]
            self.swapped_out.add(request)
        come = [r for r, end_ns in self.coming.items() if end_ns <= now_ns]
        for request in come:
            del self.coming[request]
            self.resident[request] = None
        return bool(left or come)

    def ready_ns(self, request: Request, now_ns: int) -> int:
        if request in self.resident or not request.started:
            return now_ns
        return self.coming.get(request, self.leaving.get(request, NEVER))

    def needs(self, request: Request) -> int:
        return blocks_needed(request, self.block, self.held.get(request, 0))

    def keeps(self, request: Request) -> int:
        return self.held[request]

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        return super().fits(running, (*waiting, *self.coming))

    @property
    def free(self) -> int:
        """Number of blocks that no cache holds."""
        return self.blocks - sum(self.held.values())

    @property
    def soon_free(self) -> int:
        """Number of blocks that no cache holds once those on their way out have left."""
        return self.free + sum([self.held[r] for r in self.leaving])

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        refuse_larger(self.name, recorded, self.blocks, self.block)

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        for request in running:
            self.resident[request] = None
            self.held[request] = self.needs(request)
        waiting = sorted([r for r in self.resident if not r.running], key=order)
        # all that is held, except by caches on their way out, may exceed the room
        lacking = -self.soon_free
        while waiting and lacking > 0:
            lacking -= self.held[waiting[-1]]
            self.evict(waiting.pop(), now_ns)
        return self._until_free(lacking, now_ns) - now_ns

    def _until_free(self, lacking: int, now_ns: int) -> int:
        """Return when so many caches on their way out have left that their blocks suffice for the
        lacking ones.
        """
        at_ns, lacking = now_ns, lacking + sum([self.held[r] for r in self.leaving])
        for request, end_ns in sorted(self.leaving.items(), key=lambda item: item[1]):
            if lacking > 0:
                at_ns, lacking = max(at_ns, end_ns), lacking - self.held[request]
        return at_ns

    def evict(self, request: Request, at_ns: int) -> int:
        """Begin to swap a resident request's cache out; return the time until that ends."""
        del self.resident[request]
        self.leaving[request] = self._transfer("swap out", request, at_ns)
        return self.leaving[request] - at_ns

    def fetch(self, request: Request, at_ns: int) -> None:
        """Begin to swap a request's cache in."""
        self.swapped_out.remove(request)
        self.held[request] = self.needs(request)
        self.coming[request] = self._transfer("swap in", request, at_ns)

    def _transfer(self, kind: str, request: Request, at_ns: int) -> int:
        """Issue a transfer; return when it ends."""
        ns = self.transfer_ns(kind, request.kv_tokens - request.uncomputed_tokens)
        start_ns = max(at_ns, self._engine_free_ns[kind])
        self._engine_free_ns[kind] = end_ns = start_ns + ns
        request.switch_ns += ns
        if self.on_transfer is not None:
            self.on_transfer(Transfer(kind, request, start_ns, end_ns))
        return end_ns

    def transfer_ns(self, kind: str, tokens: int) -> int:
        """Return the time of a transfer of so many tokens."""
        return self.eviction.out_ns(tokens) if kind == "swap out" else self.eviction.back_ns(tokens)

    def usage(self) -> tuple[int, int]:
        return self._filled(self.held), self.block * sum(self.held.values())

    def release(self, request: Request) -> None:
        super().release(request)
        del self.held[request]

    def check(self) -> None:
        super().check()
        there = [*self.resident, *self.leaving, *self.coming]
        assert self.held.keys() == set(there)
        assert len(set(there)) == len(there)
        assert not self.swapped_out.intersection(there)
