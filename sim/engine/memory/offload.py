"""Caches that move beside rounds: blocks of tokens, and one copy engine for each direction, on the
server's clock.

What managers that offload ahead of need have in common; who leaves and who comes back is theirs
(`plan`).
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import NEVER
from lapsd.sim.engine.memory.adds_up import AddsUp
from lapsd.sim.engine.memory.base import Order, Transfer
from lapsd.sim.engine.memory.blocks import as_many, blocks_needed, refuse_larger
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


class Sums(Protocol):
    """What those who run have together, where a server keeps sums."""

    def held(self) -> int:
        """Blocks in the last round, of who has not stopped since."""

    def needed(self) -> int:
        """Blocks in the next round."""

    def stops(self, held: int) -> None:
        """Somebody who ran the last round stops, and held so many in it."""

    def settle(self, request: Request) -> None:
        """Bring up to date how far one is who runs."""


class Offload(AddsUp):
    """Blocks of so many tokens; a cache that is on its way out or in holds its blocks, and its
    request cannot run.

    A move begins when its engine is free, and rounds go on meanwhile. They wait only where those
    who run lack blocks that are not free yet: then the worst of those who do not run move out, and
    the round begins once they have.

    Parameters
    ----------
    batch : requests that run together.
    blocks, block : how many blocks there are, and the tokens of each.

    Attributes
    ----------
    held : dict of int by Request
        Blocks, of holders and of who is on its way; of who runs at least so many.
    sums : Sums or None
        Of who runs, for servers that keep them; None: `held` is brought up to date at each
        decision.
    changed : list of Request
        Whose cache came, or began to leave, at this decision; servers that have dealt with some
        clear it.
    at_rest : bool
        No `plan` acts by rounds going on alone, as long as those who run have the `rooms` for it.
    """

    predictable = True
    asks_of_all: ClassVar[bool] = True  # `plan` needs to know how far everybody is who runs

    def __init__(self, eviction: Eviction, batch: int, blocks: int, block: int) -> None:
        super().__init__(eviction)
        self.batch, self.blocks, self.block = batch, blocks, block
        self.at_rest = False
        self.held: dict[Request, int] = {}
        self.leaving: dict[Request, int] = {}  # until when
        self.coming: dict[Request, int] = {}
        self.swapped_out: set[Request] = set()
        self.changed: list[Request] = []
        self.sums: Sums | None = None
        self._engine_free_ns = {"swap out": 0, "swap in": 0}

    @abstractmethod
    def plan(self, ordered: Sequence[Request], now_ns: int) -> bool:
        """Send holders away and fetch caches from outside, as it is best for those there, in order.

        Returns whether it may act again though nothing changes but that rounds go on.
        """

    @abstractmethod
    def may_take(self, running: int) -> int:
        """So many blocks may those take who run, beside all that is held but by who leaves, before
        `plan` acts.
        """

    def ready(self, ordered: Sequence[Request], now_ns: int) -> Iterable[Request]:
        if self.sums is None:
            self._catch_up(self.resident)
        self.changed.clear()
        self._land(now_ns)
        again = self.plan(ordered, now_ns)
        if self._land(now_ns):  # moves that take no time make room at once
            again = self.plan(ordered, now_ns) | self._land(now_ns)
        self.at_rest = not again
        here = self.resident
        return (r for r in ordered if r in here or not r.started)

    def _catch_up(self, requests: Iterable[Request]) -> None:
        """Hold what those held in the last round that they ran: as it is, unless the server skipped
        ahead to here.
        """
        for request in requests:
            if request.rounds and request.running:
                before = -(-request.recorded.looks_ahead[request.rounds - 1] // self.block)
                self.held[request] = max(self.held[request], before)

    def stop(self, request: Request) -> None:
        """Who ran the last round, and is summed, stops, and keeps its cache as that left it."""
        assert self.sums is not None
        self._catch_up((request,))
        self.sums.stops(self.held[request])

    def _land(self, now_ns: int) -> bool:
        """Moves that are over by now; whether there were any."""
        left = [r for r, end_ns in self.leaving.items() if end_ns <= now_ns]
        for request in left:
            del self.leaving[request], self.held[request]
            self.swapped_out.add(request)
        come = [r for r, end_ns in self.coming.items() if end_ns <= now_ns]
        for request in come:
            del self.coming[request]
            self.resident[request] = None
        self.changed += come
        return bool(left or come)

    def ready_ns(self, request: Request, now_ns: int) -> int:
        if request in self.resident or not request.started:
            return now_ns
        return self.coming.get(request, self.leaving.get(request, NEVER))

    @property
    def next_ns(self) -> int:
        """When the next move is over."""
        return min([*self.leaving.values(), *self.coming.values()], default=NEVER)

    def rooms(self, running: int) -> tuple[int, int]:
        """What so many who run may need together: before they lack blocks that are free, and before
        `plan` acts.
        """
        taken = (
            [self.held[r] for r in self.resident if not r.running]
            if len(self.resident) > running
            else []
        )
        leaving = sum([self.held[r] for r in self.leaving])
        free = self.room() - sum(taken) - leaving
        return free, free + leaving - self.blocks + self.may_take(running)

    def needs(self, request: Request) -> NDArray[np.int64]:
        return request.recorded.blocks_ahead(self.block)[request.rounds :]

    def needed(self, running: Sequence[Request]) -> int:
        return sum(blocks_needed(running, self.block, self.held))

    def room(self, waiting: Iterable[Request] = ()) -> int:
        return self.blocks - sum([self.held[r] for r in (*waiting, *self.coming)])

    @property
    def free(self) -> int:
        """Blocks that nobody holds."""
        if self.sums is None:
            return self.blocks - sum(self.held.values())
        others = [*self.leaving, *self.coming, *[r for r in self.resident if not r.running]]
        return self.blocks - self.sums.held() - sum([self.held[r] for r in others])

    @property
    def soon_free(self) -> int:
        """Blocks that nobody holds once those who leave have left."""
        return self.free + sum([self.held[r] for r in self.leaving])

    def first_that_fit(self, ordered: Sequence[Request], batch_slots: int) -> list[Request]:
        first = list(ordered[:batch_slots])
        return first[: as_many(blocks_needed(first, self.block, self.held), self.room())]

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        refuse_larger(self.name, recorded, self.blocks, self.block)

    def make_room(
        self, running: Sequence[Request], fresh: Sequence[Request], order: Order, now_ns: int
    ) -> int:
        take = running if self.sums is None else fresh
        for request, blocks in zip(take, blocks_needed(take, self.block, self.held), strict=True):
            self.resident[request] = None
            self.held[request] = blocks
        waiting = [r for r in self.resident if not r.running]
        if not (waiting or self.leaving):
            return 0
        lacking = (self.needed(running) if self.sums is None else self.sums.needed()) - self.room(
            waiting
        )
        waiting.sort(key=order)
        while waiting and lacking > 0:
            lacking -= self.held[waiting[-1]]
            self.evict(waiting.pop(), now_ns)
            self.at_rest = False
        return self._until_free(lacking, now_ns) - now_ns

    def _until_free(self, lacking: int, now_ns: int) -> int:
        """When so many have left that who runs has the blocks that it lacks, those of who leaves
        being free.
        """
        at_ns, lacking = now_ns, lacking + sum([self.held[r] for r in self.leaving])
        for request, end_ns in sorted(self.leaving.items(), key=lambda item: item[1]):
            if lacking > 0:
                at_ns, lacking = max(at_ns, end_ns), lacking - self.held[request]
        return at_ns

    def evict(self, request: Request, at_ns: int) -> int:
        """A holder's cache begins its way out: nanoseconds until it is there."""
        if self.sums is not None and request.running:
            self.sums.settle(request)
            self.stop(request)
        del self.resident[request]
        self.changed.append(request)
        self.leaving[request] = self._transfer("swap out", request, at_ns)
        return self.leaving[request] - at_ns

    def fetch(self, request: Request, at_ns: int) -> None:
        """A cache from outside begins its way in."""
        self.swapped_out.remove(request)
        self.held[request] = self.needed((request,))
        self.coming[request] = self._transfer("swap in", request, at_ns)

    def _transfer(self, kind: str, request: Request, at_ns: int) -> int:
        """When a move that its engine does next is over."""
        ns = self.transfer_ns(kind, request.kv_tokens - request.uncomputed_tokens)
        start_ns = max(at_ns, self._engine_free_ns[kind])
        self._engine_free_ns[kind] = end_ns = start_ns + ns
        request.switch_ns += ns
        if self.on_transfer is not None:
            self.on_transfer(Transfer(kind, request, start_ns, end_ns))
        return end_ns

    def transfer_ns(self, kind: str, tokens: int) -> int:
        """What moving so many tokens takes."""
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
