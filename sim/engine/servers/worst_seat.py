"""Who of those who run has the highest rank: whoever waits and comes before it takes that seat.

Ranks are asked for only where they may matter: one that does not rise is, until the policy has to
be asked again, at most what it was, and one that may rise at most the best waiting rank of when the
policy was asked.
"""

from bisect import insort
from collections.abc import Iterable

from lapsd.policies import Policy, Rank
from lapsd.policies.decision import rank_of
from lapsd.sim.engine.servers.running_batch import RunningBatch, Seat

# past bounds, beside one a seat, before they are dropped: a longer list is dearer to keep in order
KEPT = 8


class WorstSeat:
    """The seats of a batch by what bounds their ranks, the worst last.

    A bound is (rank, entry into the queue, order of arrival, number, seat); a seat has the one that
    holds.
    """

    def __init__(self, policy: Policy, batch: RunningBatch) -> None:
        self.policy = policy
        self.batch = batch
        self._ranked: list[tuple[Rank, int, int, int, Seat]] = []
        self._unranked: dict[
            Seat, None
        ] = {}  # asked, and not ranked since; unless rising, they are no worse than now
        self._bounds = 0  # so many were made

    def asked(self, seat: Seat, best_waiting: Rank | None) -> None:
        """The policy was asked how long who sits there may run, and the rank now is not known, or
        may rise.
        """
        if seat.rising and best_waiting is not None:
            self._bind(seat, best_waiting)
        else:
            self._unranked[seat] = None

    def left(self, seat: Seat) -> None:
        """Nobody sits there any more."""
        seat.bound = None
        self._unranked.pop(seat, None)

    def rank(self, seats: Iterable[Seat], now_ns: int) -> None:
        """At a decision: rank those of whom the policy has to be asked again, and who may have
        risen to anything.
        """
        for seat in seats:
            if not seat.until_round and seat.bound is None:
                self._rank(seat, now_ns)
        for seat in self._unranked:
            if seat.bound is None or seat.rising:
                self._rank(seat, now_ns)
        self._unranked.clear()
        if len(self._ranked) > KEPT + len(self.batch.seats):
            self._ranked = [bound for bound in self._ranked if bound[4].bound is bound]

    def behind(self, best_waiting: Rank, now_ns: int) -> Seat | None:
        """The worst seat, if that waiting rank is lower."""
        ranked = self._ranked
        while ranked:
            bound = ranked[-1]
            seat = bound[4]
            if seat.bound is bound:
                if not best_waiting < bound[0]:
                    return None
                if seat.ranked_at == self.batch.rounds:
                    return seat
            ranked.pop()
            if seat.bound is bound:
                self._rank(seat, now_ns)
        return None

    def may_be_behind(self, waiting: Rank, now_ns: int) -> bool:
        """Whether that rank may be lower than one of those who run before the policy has to be
        asked again.
        """
        ranked, unranked = self._ranked, self._unranked
        if unranked:
            for seat in unranked:
                if seat.rising:
                    return True
                self._bind(seat, rank_of(self.policy, self.batch.settle(seat), now_ns))
            unranked.clear()
        while ranked and ranked[-1][4].bound is not ranked[-1]:
            ranked.pop()
        return bool(ranked) and waiting < ranked[-1][0]

    def _rank(self, seat: Seat, now_ns: int) -> None:
        batch = self.batch
        rank = rank_of(self.policy, batch.settle(seat), now_ns)
        if seat.rising and seat.until_round:
            batch.ask(seat)
        self._bind(seat, rank)
        seat.ranked_at = batch.rounds

    def _bind(self, seat: Seat, rank: Rank) -> None:
        request, self._bounds = seat.request, self._bounds + 1
        seat.bound = bound = (rank, request.entered_ns, request.index, self._bounds, seat)
        insort(self._ranked, bound)
