"""Batches, skipping ahead from decision to decision: one SimPy timeout until the server is idle.

Any batch size, and any memory that foresees how long it lasts. Must give what `step` gives, to the
nanosecond, for every policy that keeps the promise of its `run_until`.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import simpy

from lapsd.policies import Rank
from lapsd.policies.decision import no_progress, rank_of, ranks_of
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.servers.running_batch import BatchSlot, RunningBatch
from lapsd.sim.engine.servers.skip import WAITING_ORDER, SkipServer
from lapsd.sim.engine.servers.stretches import IrregularStretches, RegularStretches
from lapsd.sim.engine.servers.together import Together
from lapsd.sim.engine.servers.worst_running import WorstRunning

by_index = attrgetter("index")


@dataclass(eq=False)
class BatchServer(SkipServer):
    """One server of any capacity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        profile = self.workload.priced.profile
        costs = [profile.round_cost(b) for b in range(1, self.capacity.batch + 1)]
        irregular = None in map(attrgetter("draft_tokens"), self.recorded)
        self.batch = RunningBatch(
            IrregularStretches(costs) if irregular else RegularStretches(costs)
        )
        self.together = Together(self.memory, self.batch, not irregular)
        self._one_round = False
        self._first_rounds: list[Request] = []  # who has started, and its first round is not over
        self.worst = WorstRunning(self.policy, self.batch)

    def serve(self) -> Generator[simpy.Event, Any, None]:
        """The SimPy process: until every request is done, decide, serve a stretch of rounds, commit
        it.
        """
        run_record, waiting, batch, memory = self.run_record, self.waiting, self.batch, self.memory
        timeout, arrivals, heap, batch_slots = (
            self.env.timeout,
            self._arrivals,
            self.waiting.heap,
            self.batch.batch_slots,
        )
        limited, grows, wakes, check = memory.limited, memory.grows, waiting.wakes, self.check
        always, first_rounds = grows or self.capacity.in_steps, self._first_rounds
        now = clock = 0  # the latter is SimPy's
        while True:
            if arrivals[self.arrived] <= now:
                self._admit(now)
            if wakes:
                waiting.wake(now)
            if check:
                self._check(now)
            fresh = self._choose(now) if heap or always else ()
            if not batch_slots and not self._how_many_run():
                if run_record.done == run_record.requests:
                    break
                until = self._next_ns(now)
                run_record.idle_ns += until - now
                yield timeout(until - clock)
                now = clock = until
                continue
            start = now
            if limited and (fresh or grows):
                start += self._make_room(fresh, now)
            if fresh and (starting := [r for r in fresh if not r.started]):
                start += self._prefill(starting, start, self._costs)
                first_rounds += starting
            if batch.to_ask:
                self._ask(now)
            rounds, stretch_ns = self._stretch(now, start)
            if first_rounds:
                first_ns = (
                    stretch_ns if rounds == 1 else batch.stretches.up_to(batch.rounds, 1, 0)[1]
                )
                self._note_first_rounds(start + first_ns)
            now = start + stretch_ns
            if reached := batch.advance(rounds, stretch_ns):
                self._commit(reached, now)
        run_record.rounds = batch.rounds
        yield timeout(now - clock)

    def _note_first_rounds(self, end_ns: int) -> None:
        """The first round of who has just sat down is over then."""
        for request in self._first_rounds:
            request.first_token_ns = end_ns
        self._first_rounds.clear()

    def _next_ns(self, now_ns: int) -> int:
        """When somebody may run, while nobody can."""
        if self.waiting.heap:
            raise no_progress(
                self.policy, now_ns, len(self.active()), "the first does not fit the memory"
            )
        return self._arrivals[self.arrived]

    def _make_room(self, fresh: Sequence[Request], now_ns: int) -> int:
        """The memory has room for those who run, and the caches of newcomers: nanoseconds that it
        takes.
        """
        if not fresh and self._all_there_run():
            return 0
        return self.memory.make_room(self.batch.settled(), fresh, WAITING_ORDER, now_ns)

    def _all_there_run(self) -> bool:
        """Whether nobody but those who run has anything, and they take what they need unasked."""
        return self.together.needs is not None and len(self.memory.resident) == self._how_many_run()

    def _how_many_run(self) -> int:
        return len(self.batch.batch_slots)

    def _state_changed(self, now_ns: int) -> None:
        super()._state_changed(now_ns)
        for batch_slot in self.batch.batch_slots:
            self.batch.settle(batch_slot)
            self.batch.ask(batch_slot)

    def _choose(self, now_ns: int) -> list[Request]:
        """Seat the next round's requests; returns those who did not sit there before, in order."""
        if self.memory.grows:
            kept = self._keep_all(now_ns)
            return self._choose_what_fits(now_ns) if kept is None else kept
        heap, batch_slots = self.waiting.heap, self.batch.batch_slots
        fresh: list[Request] = []
        while heap and len(batch_slots) < self.capacity.batch:
            fresh.append(self._sit_down())
        if heap and len(fresh) < len(batch_slots):
            self._displace(fresh, now_ns)
        return fresh

    def _displace(self, fresh: list[Request], now_ns: int) -> None:
        """Those who wait take the seats of those whose rank is strictly higher, the worst first."""
        heap, to_ask, worst = self.waiting.heap, self.batch.to_ask, self.worst
        worst.rank(
            to_ask[: len(to_ask) - len(fresh)], now_ns
        )  # all but those who have just sat down
        while batch_slot := worst.behind(heap[0][0], now_ns):
            fresh.append(self._sit_down())
            self._send_away(batch_slot, now_ns)

    def _keep_all(self, now_ns: int) -> list[Request] | None:
        """Newcomers, as many of the first as fit, if all who run keep their seats; None if they may
        not.
        """
        heap, batch, worst, together = self.waiting.heap, self.batch, self.worst, self.together
        if not together.fit():
            return None
        if heap:
            worst.rank(list(batch.to_ask), now_ns)
            if worst.behind(heap[0][0], now_ns):
                return None
        fresh: list[Request] = []
        self._one_round = False
        while heap and len(batch.batch_slots) < self.capacity.batch and together.fit((heap[0][3],)):
            fresh.append(self._sit_down())
        return fresh

    def _choose_what_fits(self, now_ns: int) -> list[Request]:
        """Where memory may run short, everyone in order as long as they fit, none passed over."""
        waiting, batch = self.waiting, self.batch
        batch_slots = dict(zip(batch.settled(), batch.batch_slots, strict=True))
        ordered, newcomers = self._in_order(list(batch_slots), now_ns)
        chosen = set(self.memory.first_that_fit(ordered, len(ordered)))
        fresh = [request for request, _ in newcomers if request in chosen]
        for request, rank in newcomers[len(fresh) :]:
            waiting.push(request, rank, now_ns)
        # who loses a seat is first now, as who ran goes before equals, but may not be so at the
        # next boundary
        losers = [
            batch_slot for request, batch_slot in batch_slots.items() if request not in chosen
        ]
        self._one_round = bool(losers)
        for request in fresh:
            self._sit(request)
        for batch_slot in losers:
            self._send_away(batch_slot, now_ns)
        for batch_slot in batch.batch_slots:
            batch.ask(batch_slot)
        return fresh

    def _in_order(
        self, running: list[Request], now_ns: int
    ) -> tuple[list[Request], list[tuple[Request, Rank]]]:
        """The first of all, as many as run together, and those of them who waited, which are taken
        from there.
        """
        waiting, heap, kept = self.waiting, self.waiting.heap, 0
        ranks = ranks_of(self.policy, running, now_ns)
        seated = sorted(
            (rank, r.entered_ns, r.index, r) for rank, r in zip(ranks, running, strict=True)
        )
        ordered: list[Request] = []
        newcomers: list[tuple[Request, Rank]] = []
        while len(ordered) < self.capacity.batch and (heap or kept < len(seated)):
            if kept < len(seated) and not (heap and heap[0][0] < seated[kept][0]):
                ordered.append(seated[kept][3])
                kept += 1
            else:
                rank = heap[0][0]
                ordered.append(waiting.pop())
                newcomers.append((ordered[-1], rank))
        return ordered, newcomers

    def _sit_down(self) -> Request:
        request = self.waiting.pop()
        self._sit(request)
        return request

    def _sit(self, request: Request) -> None:
        request.running = True
        self.batch.sit(request)

    def _send_away(self, batch_slot: BatchSlot, now_ns: int) -> None:
        self._leave(batch_slot)
        self._wait_again(batch_slot.request, now_ns)

    def _wait_again(self, request: Request, now_ns: int) -> None:
        request.running = False
        request.preemptions += 1
        self.waiting.push(
            request, rank_of(self.policy, request, now_ns), now_ns
        )  # as one that waits

    def _ask(self, now_ns: int) -> None:
        """Ask the policy how long those may run of whom that is not known; they are settled."""
        batch, heap = self.batch, self.waiting.heap
        best = heap[0][0] if heap else None
        for batch_slot in batch.to_ask:
            if not batch_slot.until_round:
                batch.run_until(batch_slot, self.policy.run_until(batch_slot.request, best, now_ns))
                if batch_slot.bound is None or batch_slot.rising:
                    self.worst.asked(batch_slot, best)
        batch.to_ask.clear()

    def _commit(self, reached: list[BatchSlot], now_ns: int) -> None:
        """Those whose stretch is over learn, or leave."""
        done: list[Request] = []
        for batch_slot in reached:
            request = self.batch.settle(batch_slot)
            if request.rounds == request.recorded.rounds:
                self._leave(batch_slot)
                done.append(request)
                continue
            queue = request.queue
            self.policy.on_round(request, now_ns)
            if request.queue != queue:
                request.entered_ns = now_ns
        if len(done) > 1:
            done.sort(key=by_index)
        for request in done:
            self._complete(request, now_ns)

    def _leave(self, batch_slot: BatchSlot) -> None:
        self.batch.leave(batch_slot)
        self.worst.left(batch_slot)

    def _stretch(self, now_ns: int, start_ns: int) -> tuple[int, int]:
        """Rounds until the next decision, and the time they take; takes in events that change
        nothing on the way.
        """
        batch, waiting, heap = self.batch, self.waiting, self.waiting.heap
        most, within = self._limits(start_ns)
        arrivals, free = self._arrivals, len(batch.batch_slots) < self.capacity.batch
        first = heap[0][3] if heap else None
        decides = self._watched or (
            free and not heap
        )  # whoever comes: is seated, or may change the policy's state
        while True:
            at_ns = (
                min(arrivals[self.arrived], waiting.next_wake)
                if waiting.wakes
                else arrivals[self.arrived]
            )
            until_ns = at_ns - start_ns
            rounds, stretch_ns = batch.stretches.up_to(
                batch.rounds, most, within if within < until_ns else until_ns
            )
            if decides or (until_ns >= stretch_ns and (rounds == most or stretch_ns >= within)):
                return rounds, stretch_ns
            if waiting.wakes and waiting.next_wake == at_ns:
                if waiting.swapped_out_waiting:
                    return rounds, stretch_ns
                waiting.wake(at_ns)
            else:
                self._arrive(at_ns)
            # a seat is free only for want of memory: whoever is first now may fit
            if (free and heap[0][3] is not first) or self.worst.may_be_behind(heap[0][0], now_ns):
                return rounds, stretch_ns

    def _limits(self, start_ns: int) -> tuple[int, int]:
        """Rounds from an instant on, and time served, until somebody or the memory needs a
        decision.
        """
        most, within = self.batch.limits()
        if self._one_round:
            most = 1
        elif self.memory.grows:
            most = self.together.last(most)
        return most, within

    def _running(self) -> list[Request]:
        return self.batch.settled()

    def _check(self, now_ns: int) -> None:
        """Every invariant that must hold between stretches."""
        seated = self._running()
        waiting, memory = self.waiting.everyone(), self.memory
        there = seated + waiting
        assert self.arrived == self.run_record.done + len(there), "a request is lost or doubled"
        assert len({r.index for r in there}) == len(there)
        assert len(seated) <= self.capacity.batch
        assert now_ns >= self.env.now
        if memory.limited:
            assert memory.fits([], list(memory.resident))
            for r in there:
                assert (
                    (r in memory.resident)
                    if r.running and r.rounds
                    else (r.started or r not in memory.resident)
                )
        for request in there:
            assert request.arrival_ns <= now_ns
            assert request.running == (request in seated)
            assert not request.done
            assert request.tokens == request.recorded.tokens[request.rounds]
            assert request.started or not request.rounds
        for request in waiting:
            assert request.waiting_entry[0] == rank_of(self.policy, request, now_ns), (
                "a waiting rank has changed unseen"
            )
