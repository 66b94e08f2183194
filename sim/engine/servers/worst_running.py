"""Who of those who run has the highest rank: whoever waits and comes before it takes that seat.

Ranks are asked for only where they may matter: one that does not rise is, until the policy has to
be asked again, at most what it was, and one that may rise at most the best waiting rank of when the
policy was asked.
"""

from bisect import insort
from collections.abc import Iterable

from lapsd.policies import Policy, Rank
from lapsd.policies.decision import rank_of
from lapsd.sim.engine.servers.running_batch import BatchSlot, RunningBatch

# past bounds, beside one a seat, before they are dropped: a longer list is dearer to keep in order
KEPT = 8


class WorstRunning:
    """The seats of a batch by what bounds their ranks, the worst last.

    A bound is (rank, entry into the queue, order of arrival, number, seat); a seat has the one that
    holds.
    """

    def __init__(self, policy: Policy, batch: RunningBatch) -> None:
        self.policy = policy
        self.batch = batch
        self._ranked: list[tuple[Rank, int, int, int, BatchSlot]] = []
        self._unranked: dict[
            BatchSlot, None
        ] = {}  # asked, and not ranked since; unless rising, they are no worse than now
        self._bounds = 0  # so many were made

    def asked(self, batch_slot: BatchSlot, best_waiting: Rank | None) -> None:
        """The policy was asked how long who sits there may run, and the rank now is not known, or
        may rise.
        """
        if batch_slot.rising and best_waiting is not None:
            self._bind(batch_slot, best_waiting)
        else:
            self._unranked[batch_slot] = None

    def left(self, batch_slot: BatchSlot) -> None:
        """Nobody sits there any more."""
        batch_slot.bound = None
        self._unranked.pop(batch_slot, None)

    def rank(self, batch_slots: Iterable[BatchSlot], now_ns: int) -> None:
        """At a decision: rank those of whom the policy has to be asked again, and who may have
        risen to anything.
        """
        for batch_slot in batch_slots:
            if not batch_slot.until_round and batch_slot.bound is None:
                self._rank(batch_slot, now_ns)
        for batch_slot in self._unranked:
            if batch_slot.bound is None or batch_slot.rising:
                self._rank(batch_slot, now_ns)
        self._unranked.clear()
        if len(self._ranked) > KEPT + len(self.batch.batch_slots):
            self._ranked = [bound for bound in self._ranked if bound[4].bound is bound]

    def behind(self, best_waiting: Rank, now_ns: int) -> BatchSlot | None:
        """The worst seat, if that waiting rank is lower."""
        ranked = self._ranked
        while ranked:
            bound = ranked[-1]
            batch_slot = bound[4]
            if batch_slot.bound is bound:
                if not best_waiting < bound[0]:
                    return None
                if batch_slot.ranked_at == self.batch.rounds:
                    return batch_slot
            ranked.pop()
            if batch_slot.bound is bound:
                self._rank(batch_slot, now_ns)
        return None

    def may_be_behind(self, waiting: Rank, now_ns: int) -> bool:
        """Whether that rank may be lower than one of those who run before the policy has to be
        asked again.
        """
        ranked, unranked = self._ranked, self._unranked
        if unranked:
            for batch_slot in unranked:
                if batch_slot.rising:
                    return True
                self._bind(batch_slot, rank_of(self.policy, self.batch.settle(batch_slot), now_ns))
            unranked.clear()
        while ranked and ranked[-1][4].bound is not ranked[-1]:
            ranked.pop()
        return bool(ranked) and waiting < ranked[-1][0]

    def _rank(self, batch_slot: BatchSlot, now_ns: int) -> None:
        batch = self.batch
        rank = rank_of(self.policy, batch.settle(batch_slot), now_ns)
        if batch_slot.rising and batch_slot.until_round:
            batch.ask(batch_slot)
        self._bind(batch_slot, rank)
        batch_slot.ranked_at = batch.rounds

    def _bind(self, batch_slot: BatchSlot, rank: Rank) -> None:
        request, self._bounds = batch_slot.request, self._bounds + 1
        batch_slot.bound = bound = (
            rank,
            request.entered_ns,
            request.index,
            self._bounds,
            batch_slot,
        )
        insort(self._ranked, bound)
