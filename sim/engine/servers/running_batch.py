"""Those who run together: what stretches of their rounds take, and when one of them needs a decision.

Rounds and time served are counted for the whole batch; a request's own counters are those plus what it was ahead by
when it sat down, and are written back when somebody asks (`settle`).
"""

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from policies import NEVER, Rank, Until
from sim.engine.request import Request
from traces import RoundCost

ROUNDS_KEPT = 4096  # of running totals, at least


class Seat:
    """A running request's seat in the batch.

    Attributes
    ----------
    request : Request
    rounds_ahead, service_ahead : int
        What the request's counters are ahead of the batch's.
    asked : bool
        When it needs a decision is known, or it has left.
    ceiling : Rank or None
        What its rank does not exceed until then, if that is known.
    rising : bool
        Its rank may rise until then, though not above the ceiling.
    """

    __slots__ = ("asked", "ceiling", "request", "rising", "rounds_ahead", "service_ahead")

    def __init__(self, request: Request, rounds: int, service_ns: int) -> None:
        self.request = request
        self.rounds_ahead = request.rounds - rounds
        self.service_ahead = request.service_ns - service_ns
        self.asked = self.rising = False
        self.ceiling: Rank | None = None


class RunningBatch:
    """The running requests.

    Lists by seat are searched by `min` and `index`: for tens of seats that is faster than heaps are.

    Attributes
    ----------
    rounds, service_ns : int
        Rounds served by the batch, and the time they took.
    seats, to_ask : list of Seat
        Who runs, and of whom the policy has still to be asked how long.
    """

    def __init__(self, costs: list[RoundCost]) -> None:
        self.rounds = self.service_ns = 0
        self.seats: list[Seat] = []
        self.to_ask: list[Seat] = []
        # by seat, the batch's counters at which it needs a decision, and draft tokens of every round, or None
        self._until_round: list[int] = []
        self._until_service: list[int] = []
        self._drafts: list[int | None] = []
        # by round of the batch from `_origin` on: what contexts of all who run, added up to there, lack to the totals
        # over all their rounds; differences say what stretches take, also across a round where somebody is done
        self._contexts: NDArray[np.int64] = np.zeros(ROUNDS_KEPT, dtype=np.int64)
        self._origin = 0
        self._costs = costs
        self._priced = False  # the next two hold
        self._regular = False  # every round drafts as many tokens, and costs:
        self._price = (0, 0)  # so much, and so much more a context token
        self._ahead: list[int] = []  # else: what the next rounds take, added up, as far as was asked

    def sit(self, request: Request) -> None:
        """A request takes a seat."""
        seat = Seat(request, self.rounds, self.service_ns)
        self.seats.append(seat)
        self.to_ask.append(seat)
        self._until_round.append(NEVER)
        self._until_service.append(NEVER)
        self._drafts.append(request.recorded.draft_tokens)
        here = self._contexts_of(request)
        here += request.recorded.contexts_left[request.rounds : -1]
        self._priced = False

    def leave(self, seat: Seat) -> None:
        """A settled request leaves its seat."""
        number, request = self.seats.index(seat), seat.request
        del self.seats[number], self._until_round[number], self._until_service[number], self._drafts[number]
        if not request.done:
            here = self._contexts_of(request)
            here -= request.recorded.contexts_left[request.rounds : -1]
        seat.asked = True
        self._priced = False

    def _contexts_of(self, request: Request) -> NDArray[np.int64]:
        """Where a settled request's further rounds lie in `_contexts`."""
        start = self.rounds - self._origin
        stop = start + request.recorded.rounds - request.rounds
        if stop >= len(self._contexts):
            kept = self._contexts[start:]
            self._contexts = np.zeros(max(ROUNDS_KEPT, 2 * (stop - start)) + len(kept), dtype=np.int64)
            self._contexts[: len(kept)] = kept
            self._origin = self.rounds
            start, stop = 0, stop - start
        return self._contexts[start:stop]

    def settle(self, seat: Seat) -> Request:
        """The seat's request with its counters up to date."""
        request = seat.request
        request.rounds = rounds = self.rounds + seat.rounds_ahead
        request.service_ns = self.service_ns + seat.service_ahead
        request.tokens = request.recorded.tokens[rounds]
        return request

    def run_until(self, seat: Seat, until: Until, best_waiting: Rank | None) -> None:
        """The request needs a decision once any of its own counters is there, or it is done. O(seats)."""
        rounds, service_ns, tokens, seat.rising = until
        if seat.rising:
            seat.ceiling = best_waiting
        recorded = seat.request.recorded
        last = rounds if rounds < recorded.rounds else recorded.rounds
        if tokens < NEVER and tokens <= recorded.tokens[last]:
            last = bisect_left(recorded.tokens, tokens, 0, last)
        last -= seat.rounds_ahead
        number = self.seats.index(seat)
        self._until_round[number] = last if last > self.rounds else self.rounds + 1  # a round is always served
        self._until_service[number] = service_ns - seat.service_ahead
        seat.asked = True

    def ask(self, seat: Seat) -> None:
        """The policy is to be asked again."""
        seat.asked = False
        seat.ceiling = None
        self.to_ask.append(seat)

    def advance(self, rounds: int, ns: int) -> list[Seat]:
        """So many rounds are over: those who need a decision now, settled."""
        self.rounds += rounds
        self.service_ns += ns
        self._ahead.clear()
        reached: list[Seat] = []
        for limits, counter in ((self._until_round, self.rounds), (self._until_service, self.service_ns)):
            while (soonest := min(limits)) <= counter:
                number = limits.index(soonest)
                self._until_round[number] = self._until_service[number] = NEVER
                self.settle(self.seats[number])
                reached.append(self.seats[number])
        return reached

    def limits(self) -> tuple[int, int]:
        """Rounds, and time served, until somebody needs a decision."""
        return min(self._until_round) - self.rounds, min(self._until_service) - self.service_ns

    def up_to(self, most: int, within_ns: int) -> tuple[int, int]:
        """Rounds until `most` are over or `within_ns` is reached, at least one, and the time they take."""
        if len(self.seats) == 1:
            seat = self.seats[0]
            totals, done = seat.request.recorded.service_ns, self.rounds + seat.rounds_ahead
            last = bisect_left(totals, within_ns + totals[done], done + 1, done + most)
            return last - done, totals[last] - totals[done]
        if not self._priced:
            self._set_price()
        if not self._regular:
            return self._one_by_one(most, within_ns)
        base, per_token = self._price
        contexts, now = self._contexts, self.rounds - self._origin
        before = contexts.item(now)
        ns = longest = base * most + per_token * (contexts.item(now + most) - before)
        if ns < within_ns or most == 1:
            return most, ns
        # contexts only grow, so rounds get dearer: what is reached by a chord is reached no sooner
        rounds = ns = 0
        while ns < within_ns or not rounds:
            rounds += max(1, -((rounds - most) * (within_ns - ns) // (longest - ns)) if longest > ns else 1)
            ns = base * rounds + per_token * (contexts.item(now + rounds) - before)
        return rounds, ns

    def _set_price(self) -> None:
        self._priced = True
        self._ahead.clear()
        self._regular = None not in self._drafts
        if self._regular:
            cost, drafted = self._costs[len(self._drafts) - 1], max(self._drafts)  # type: ignore[type-var]
            self._price = cost.base_ns(drafted), cost.per_token_ns(drafted)

    def _one_by_one(self, most: int, within_ns: int) -> tuple[int, int]:
        """Draft lengths differ from round to round: each round is priced, as far as it is needed."""
        cost, ahead = self._costs[len(self.seats) - 1], self._ahead
        ns = ahead[-1] if ahead else 0
        if len(ahead) < most and (ns < within_ns or not ahead):
            drafts = [(seat.request.recorded.round_drafted, seat.rounds_ahead) for seat in self.seats]
            contexts = self._contexts
            at = self.rounds + len(ahead)
            before = contexts.item(at - self._origin)
            while len(ahead) < most and (ns < within_ns or not ahead):
                drafted = max([lengths[at + more] for lengths, more in drafts])
                at += 1
                after = contexts.item(at - self._origin)
                ns += cost(drafted, after - before)
                before = after
                ahead.append(ns)
        rounds = bisect_left(ahead, within_ns, 0, min(most, len(ahead)) - 1) + 1
        return rounds, ahead[rounds - 1]
