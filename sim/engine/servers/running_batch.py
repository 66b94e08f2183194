"""Those who run together: what stretches of their rounds take, and when one of them needs a decision.

Rounds and time served are counted for the whole batch; a request's own counters are those plus what it was ahead by
when it sat down, and are written back when somebody asks (`settle`).
"""

from bisect import bisect_left
from heapq import heappop, heappush

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
    number : int
        Of all who ever sat down.
    rounds_ahead, service_ahead : int
        What the request's counters are ahead of the batch's.
    until_round, until_service : int
        Counters of the batch at which it needs a decision: 0 while the policy has to be asked, -1 when it has left.
    ceiling : Rank or None
        What its rank does not exceed until then, if that is known.
    rising : bool
        Its rank may rise until then, though not above the ceiling.
    """

    __slots__ = (
        "ceiling", "number", "request", "rising", "rounds_ahead", "service_ahead", "until_round", "until_service",
    )  # fmt: skip

    def __init__(self, request: Request, number: int, rounds: int, service_ns: int) -> None:
        self.request = request
        self.number = number
        self.rounds_ahead = request.rounds - rounds
        self.service_ahead = request.service_ns - service_ns
        self.until_round = self.until_service = 0
        self.rising = False
        self.ceiling: Rank | None = None


class RunningBatch:
    """The running requests.

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
        self._sat = 0
        # (the batch's counter at which a decision is needed, number, seat); past ones are dropped as they surface
        self._round_limits: list[tuple[int, int, Seat]] = []
        self._service_limits: list[tuple[int, int, Seat]] = []
        # by seat: draft tokens of every round, or None; of each, and what its rounds are ahead of the batch's
        self._drafts: list[int | None] = []
        self._lengths: list[tuple[list[int], int]] = []
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
        self._sat += 1
        seat = Seat(request, self._sat, self.rounds, self.service_ns)
        self.seats.append(seat)
        self.to_ask.append(seat)
        self._drafts.append(request.recorded.draft_tokens)
        self._lengths.append((request.recorded.round_drafted, seat.rounds_ahead))
        here = self._contexts_of(request)
        here += request.recorded.contexts_left[request.rounds : -1]
        self._priced = False

    def leave(self, seat: Seat) -> None:
        """A settled request leaves its seat."""
        number, request = self.seats.index(seat), seat.request
        del self.seats[number], self._drafts[number], self._lengths[number]
        if not request.done:
            here = self._contexts_of(request)
            here -= request.recorded.contexts_left[request.rounds : -1]
        seat.until_round = seat.until_service = -1
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
        """The request needs a decision once any of its own counters is there, or it is done. O(log seats)."""
        rounds, service_ns, tokens, seat.rising = until
        if seat.rising:
            seat.ceiling = best_waiting
        recorded = seat.request.recorded
        last = rounds if rounds < recorded.rounds else recorded.rounds
        if tokens < NEVER and tokens <= recorded.tokens[last]:
            last = bisect_left(recorded.tokens, tokens, 0, last)
        last -= seat.rounds_ahead
        if last <= self.rounds:
            last = self.rounds + 1  # a round is always served
        seat.until_round = last
        heappush(self._round_limits, (last, seat.number, seat))
        if service_ns < NEVER:
            seat.until_service = service_ns = service_ns - seat.service_ahead
            heappush(self._service_limits, (service_ns, seat.number, seat))

    def ask(self, seat: Seat) -> None:
        """The policy is to be asked again."""
        seat.until_round = seat.until_service = 0
        seat.ceiling = None
        self.to_ask.append(seat)

    def advance(self, rounds: int, ns: int) -> list[Seat]:
        """So many rounds are over: those who need a decision now, settled."""
        self.rounds = now = self.rounds + rounds
        self.service_ns = served_ns = self.service_ns + ns
        if self._ahead:
            self._ahead.clear()
        reached: list[Seat] = []
        limits = self._round_limits
        while limits and limits[0][0] <= now:
            until, _, seat = heappop(limits)
            if seat.until_round == until:
                self.ask(seat)
                reached.append(seat)
        limits = self._service_limits
        while limits and limits[0][0] <= served_ns:
            until, _, seat = heappop(limits)
            if seat.until_service == until:
                self.ask(seat)
                reached.append(seat)
        for seat in reached:
            self.settle(seat)
        return reached

    def limits(self) -> tuple[int, int]:
        """Rounds, and time served, until somebody needs a decision."""
        limits = self._round_limits
        while limits[0][2].until_round != limits[0][0]:
            heappop(limits)
        rounds = limits[0][0] - self.rounds
        limits = self._service_limits
        while limits and limits[0][2].until_service != limits[0][0]:
            heappop(limits)
        return rounds, limits[0][0] - self.service_ns if limits else NEVER

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
        ns, at = (ahead[-1] if ahead else 0), self.rounds + len(ahead)
        while len(ahead) < most and (ns < within_ns or not ahead):
            drafted = max([lengths[at + more] for lengths, more in self._lengths])
            before, after = self._contexts[at - self._origin : at - self._origin + 2].tolist()
            ns += cost(drafted, after - before)
            ahead.append(ns)
            at += 1
        rounds = bisect_left(ahead, within_ns, 0, min(most, len(ahead)) - 1) + 1
        return rounds, ahead[rounds - 1]
