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
from lapsd.sim.engine.servers.running_batch import Seat
from lapsd.sim.engine.servers.skip import WAITING_ORDER


@dataclass(eq=False)
class OffloadServer(BatchServer):
    """One server whose caches move beside rounds: who waits `apart` has its cache outside, or on
    its way.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        assert isinstance(self.memory, Offload)
        self._moves = self.memory
        if self.together.needs is not None:
            self._moves.sums = self.together
        # the batch's rounds, and the instant, from which on the manager may have something to do
        self._rests_rounds, self._rests_ns = 0, 0

    def _leave(self, seat: Seat) -> None:
        super()._leave(seat)
        if (
            self._moves.sums is not None and seat.request in self._moves.holders
        ):  # else it stopped as it was evicted
            self._moves.stop(seat.request)

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
        batch, waiting, memory = self.batch, self.waiting, self._moves
        if memory.asks_of_all or memory.sums is None:
            batch.settled()
        ordered = [*self._entries(now_ns), *waiting.entries()]
        ordered.sort()
        ready = memory.ready([entry[3] for entry in ordered], now_ns)
        chosen = self.together.first_that_fit(list(itertools.islice(ready, self.capacity.batch)))
        self._sort_out(now_ns)
        fresh, runs = [r for r in chosen if not r.running], set(chosen)
        all_stay = len(runs) - len(fresh) == len(batch.seats)
        losers = [] if all_stay else [seat for seat in batch.seats if seat.request not in runs]
        for seat in losers:
            batch.settle(seat)
            if memory.ready_ns(seat.request, now_ns) > now_ns:
                waiting.apart[seat.request] = None
        for request in fresh:
            popped = waiting.pop()
            assert popped is request, "those chosen are not the first who wait"
            self._sit(request)
        for seat in losers:
            self._send_away(seat, now_ns)
        # who loses a seat is first now, as who ran goes before equals, but may not be so at the
        # next boundary
        self._one_round = bool(losers)
        if waiting.heap:  # ask those again who may not stay ahead of the first
            self.worst.rank(batch.to_ask[: len(batch.to_ask) - len(fresh)], now_ns)
            self.worst.behind(waiting.heap[0][0], now_ns)
        return fresh

    def _entries(self, now_ns: int) -> list[tuple[Any, ...]]:
        """Those who run, as entries of the order: among equals they go before who waits."""
        known = [seat.entry for seat in self.batch.seats if seat.entry is not None]
        if len(known) == len(self.batch.seats):
            return known
        unknown = [seat for seat in self.batch.seats if seat.entry is None]
        ranks = ranks_of(self.policy, [*map(self.batch.settle, unknown)], now_ns)
        for rank, seat in zip(ranks, unknown, strict=True):
            request = seat.request
            entry = (rank, request.entered_ns - NEVER, request.index, request)
            known.append(entry)
            if seat.steady and seat.until_round:
                seat.entry = entry
        return known

    def _sort_out(self, now_ns: int) -> None:
        """Who waits and can run is in the heap; who cannot is apart."""
        waiting, memory = self.waiting, self._moves
        for request in memory.changed:
            if request in memory.holders:
                if request in waiting.apart:
                    waiting.set_ready(request, now_ns)
            elif not (request.running or request in waiting.apart):
                waiting.set_apart(request, now_ns)
        memory.changed.clear()

    def _make_room(self, fresh: Sequence[Request], now_ns: int) -> int:
        memory = self._moves
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
        memory, waiting, seats = self._moves, self.waiting, self.batch.seats
        lasts = acts = 1
        rising = waiting.apart and any([seat.rising for seat in seats])  # noqa: C419 - in half the time
        if memory.at_rest and not rising:
            free, idle = memory.rooms(len(seats))
            # a plan sees what the round before that decision held
            acts = 1 + self.together.within(most, idle)
            lasts = max(1, min(self.together.within(most, free), acts))
        self._rests_rounds, self._rests_ns = self.batch.rounds + acts, memory.next_ns
        if waiting.apart and waiting.wakes:
            self._rests_ns = min(self._rests_ns, waiting.next_wake)
        return 1 if self._one_round else lasts, min(within, self._rests_ns - start_ns)

    def _commit(self, reached: list[Seat], now_ns: int) -> None:
        super()._commit(reached, now_ns)
        if self.waiting.apart:  # there is room for them, or they may come before who has learnt
            self._rests_rounds = 0

    def _state_changed(self, now_ns: int) -> None:
        super()._state_changed(now_ns)
        self._rests_rounds = 0

    def _next_ns(self, now_ns: int) -> int:
        if self.present() and self._moves.next_ns == NEVER:
            raise no_progress(self.policy, now_ns, len(self.present()), "no cache is on its way")
        return min(self._arrivals[self.arrived], self._moves.next_ns)
