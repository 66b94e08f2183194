"""Batches in memory whose caches move beside rounds, skipping ahead from decision to decision.

The manager is asked who moves, with everybody in order, only where it may have something to do;
must give what `step` gives, to the nanosecond.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lapsd.policies import NEVER
from lapsd.policies.decision import no_progress, ranks_of
from lapsd.sim.engine.memory import Offload
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.servers.batch import BatchServer
from lapsd.sim.engine.servers.running_batch import BatchSlot
from lapsd.sim.engine.servers.skip import WAITING_ORDER


@dataclass(eq=False)
class OffloadServer(BatchServer):
    """One server whose caches move beside rounds: who waits `swapped_out_waiting` has its cache
    outside, or on its way.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        assert isinstance(self.memory, Offload)
        self._transfers = self.memory
        if self.together.needs is not None:
            self._transfers.sums = self.together
        # the batch's rounds, and the instant, from which on the manager may have something to do
        self._rests_rounds, self._rests_ns = 0, 0

    def _leave(self, batch_slot: BatchSlot) -> None:
        super()._leave(batch_slot)
        if (
            self._transfers.sums is not None and batch_slot.request in self._transfers.resident
        ):  # else it stopped as it was evicted
            self._transfers.stop(batch_slot.request)

    def _choose(self, now_ns: int) -> list[Request]:
        self._one_round = False
        if self.batch.rounds < self._rests_rounds and now_ns < self._rests_ns:
            kept = self._keep_all(now_ns)
            if kept is not None:
                return kept
        return self._choose_of_all(now_ns)

    def _choose_of_all(self, now_ns: int) -> list[Request]:
        """As the specification has it: everybody in order, moves, and the first of those who can
        run.
        """
        batch, waiting, memory = self.batch, self.waiting, self._transfers
        if memory.asks_of_all or memory.sums is None:
            batch.settled()
        ordered = [*self._entries(now_ns), *waiting.entries()]
        ordered.sort()
        ready = memory.ready([entry[3] for entry in ordered], now_ns)
        chosen = self.together.first_that_fit(list(itertools.islice(ready, self.capacity.batch)))
        self._sort_out(now_ns)
        fresh, runs = [r for r in chosen if not r.running], set(chosen)
        all_stay = len(runs) - len(fresh) == len(batch.batch_slots)
        losers = (
            []
            if all_stay
            else [batch_slot for batch_slot in batch.batch_slots if batch_slot.request not in runs]
        )
        for batch_slot in losers:
            batch.settle(batch_slot)
            if memory.ready_ns(batch_slot.request, now_ns) > now_ns:
                waiting.swapped_out_waiting[batch_slot.request] = None
        for request in fresh:
            popped = waiting.pop()
            assert popped is request, "those chosen are not the first who wait"
            self._sit(request)
        for batch_slot in losers:
            self._send_away(batch_slot, now_ns)
        # who loses a seat is first now, as who ran goes before equals, but may not be so at the
        # next boundary
        self._one_round = bool(losers)
        if waiting.heap:  # ask those again who may not stay ahead of the first
            self.worst.rank(batch.to_ask[: len(batch.to_ask) - len(fresh)], now_ns)
            self.worst.behind(waiting.heap[0][0], now_ns)
        return fresh

    def _entries(self, now_ns: int) -> list[tuple[Any, ...]]:
        """Those who run, as entries of the order: among equals they go before who waits."""
        known = [
            batch_slot.entry
            for batch_slot in self.batch.batch_slots
            if batch_slot.entry is not None
        ]
        if len(known) == len(self.batch.batch_slots):
            return known
        unknown = [batch_slot for batch_slot in self.batch.batch_slots if batch_slot.entry is None]
        ranks = ranks_of(self.policy, [*map(self.batch.settle, unknown)], now_ns)
        for rank, batch_slot in zip(ranks, unknown, strict=True):
            request = batch_slot.request
            entry = (rank, request.entered_ns - NEVER, request.index, request)
            known.append(entry)
            if batch_slot.steady and batch_slot.until_round:
                batch_slot.entry = entry
        return known

    def _sort_out(self, now_ns: int) -> None:
        """Who waits and can run is in the heap; who cannot is apart."""
        waiting, memory = self.waiting, self._transfers
        for request in memory.changed:
            if request in memory.resident:
                if request in waiting.swapped_out_waiting:
                    waiting.set_ready(request, now_ns)
            elif not (request.running or request in waiting.swapped_out_waiting):
                waiting.set_apart(request, now_ns)
        memory.changed.clear()

    def _make_room(self, fresh: Sequence[Request], now_ns: int) -> int:
        memory = self._transfers
        if not (fresh or memory.leaving or memory.coming) and self._all_there_run():
            return 0
        running = self.batch.settled() if memory.sums is None else ()
        ns = memory.make_room(running, fresh, WAITING_ORDER, now_ns)
        self._sort_out(now_ns)
        return ns

    def _limits(self, start_ns: int) -> tuple[int, int]:
        """The memory rests as long as it said, nobody lands, and nobody who is apart may rise past
        who runs.
        """
        most, within = self.batch.limits()
        memory, waiting, batch_slots = self._transfers, self.waiting, self.batch.batch_slots
        lasts = acts = 1
        # a list, which takes half the time of a generator
        rises = [batch_slot.rising for batch_slot in batch_slots]
        rising = waiting.swapped_out_waiting and any(rises)
        if memory.at_rest and not rising:
            free, idle = memory.rooms(len(batch_slots))
            # a plan sees what the round before that decision held
            acts = 1 + self.together.within(most, idle)
            lasts = max(1, min(self.together.within(most, free), acts))
        self._rests_rounds, self._rests_ns = self.batch.rounds + acts, memory.next_ns
        if waiting.swapped_out_waiting and waiting.wakes:
            self._rests_ns = min(self._rests_ns, waiting.next_wake)
        return 1 if self._one_round else lasts, min(within, self._rests_ns - start_ns)

    def _commit(self, reached: list[BatchSlot], now_ns: int) -> None:
        super()._commit(reached, now_ns)
        if (
            self.waiting.swapped_out_waiting
        ):  # there is room for them, or they may come before who has learnt
            self._rests_rounds = 0

    def _state_changed(self, now_ns: int) -> None:
        super()._state_changed(now_ns)
        self._rests_rounds = 0

    def _next_ns(self, now_ns: int) -> int:
        if self.active() and self._transfers.next_ns == NEVER:
            raise no_progress(self.policy, now_ns, len(self.active()), "no cache is on its way")
        return min(self._arrivals[self.arrived], self._transfers.next_ns)
