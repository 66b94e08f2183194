"""Those who run together: what stretches of their rounds take, and when one of them needs a decision.

Rounds and time served are counted for the whole batch; a request's own counters are those plus what it was ahead by
when it sat down, and are written back when somebody asks (`settle`).
"""

from bisect import bisect_left
from heapq import heappop, heappush

from policies import NEVER, Rank, Until
from sim.engine.request import Request
from traces import RoundCost

LOOK_AHEAD = 32  # rounds priced one by one


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
        Counters of the batch at which the request needs a decision; 0 while the policy has to be asked.
    ceiling : Rank or None
        What its rank does not exceed until then, if that is known.
    rising : bool
        Its rank may rise until then, though not above the ceiling.
    """

    __slots__ = (
        "ceiling", "number", "request", "rising", "rounds_ahead", "service_ahead", "until_round", "until_service"
    )  # fmt: skip

    def __init__(self, request: Request, number: int, rounds: int, service_ns: int) -> None:
        self.request = request
        self.number = number
        self.rounds_ahead = request.rounds - rounds
        self.service_ahead = request.service_ns - service_ns
        self.until_round = self.until_service = 0
        self.ceiling: Rank | None = None
        self.rising = False


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
        # running totals of contexts, and the rounds that the request is ahead by
        self._spans: list[tuple[list[int], int]] = []
        self._drafts: list[int | None] = []  # draft tokens of every round of each, or None
        self._costs = costs
        self._priced = False  # the next two hold
        self._drafted: int | None = None  # tokens in every round; None: they differ from round to round
        self._price = (0, 0)  # a round's base, and what a context token adds, where they do not differ
        self._total = self._total_at = 0  # contexts added up, and the round where that was

    def sit(self, request: Request) -> None:
        """A request takes a seat."""
        contexts = request.recorded.contexts
        if self._total_at == self.rounds:
            self._total += contexts[request.rounds]
        self._sat += 1
        seat = Seat(request, self._sat, self.rounds, self.service_ns)
        self.seats.append(seat)
        self.to_ask.append(seat)
        self._spans.append((contexts, seat.rounds_ahead))
        self._drafts.append(request.recorded.draft_tokens)
        self._priced = False

    def leave(self, seat: Seat) -> None:
        """A settled request leaves its seat."""
        number = self.seats.index(seat)
        if self._total_at == self.rounds:
            self._total -= seat.request.recorded.contexts[seat.request.rounds]
        del self.seats[number], self._spans[number], self._drafts[number]
        seat.until_round = seat.until_service = -1
        self._priced = False

    def _set_price(self) -> None:
        self._priced = True
        self._drafted = None
        lengths = [drafted for drafted in self._drafts if drafted is not None]
        if len(lengths) == len(self._drafts):
            cost = self._costs[len(lengths) - 1]
            self._drafted = drafted = max(lengths)
            self._price = cost.base_ns(drafted), cost.per_token_ns(drafted)

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
        request = seat.request
        totals = request.recorded.tokens
        last = len(totals) - 1
        if rounds < last:
            last = rounds
        if tokens <= totals[last]:
            last = bisect_left(totals, tokens, 0, last)
        at = last - seat.rounds_ahead
        if at <= self.rounds:
            at = self.rounds + 1  # a round is always served
        seat.until_round = at
        heappush(self._round_limits, (at, seat.number, seat))
        if service_ns < NEVER:
            seat.until_service = at = service_ns - seat.service_ahead
            heappush(self._service_limits, (at, seat.number, seat))

    def ask(self, seat: Seat) -> None:
        """The policy is to be asked again."""
        seat.until_round = seat.until_service = 0
        seat.ceiling = None
        self.to_ask.append(seat)

    def reached(self) -> Seat | None:
        """Somebody who needs a decision now, settled, or None."""
        limits = self._round_limits
        while limits and limits[0][0] <= self.rounds:
            until, _, seat = heappop(limits)
            if seat.until_round == until:
                self.settle(seat)
                return seat
        limits = self._service_limits
        while limits and limits[0][0] <= self.service_ns:
            until, _, seat = heappop(limits)
            if seat.until_service == until:
                self.settle(seat)
                return seat
        return None

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
        if not self._priced:
            self._set_price()
        if len(self.seats) == 1:
            seat = self.seats[0]
            totals, done = seat.request.recorded.service_ns, self.rounds + seat.rounds_ahead
            last = bisect_left(totals, within_ns + totals[done], done + 1, done + most)
            return last - done, totals[last] - totals[done]
        return self._irregular(most, within_ns) if self._drafted is None else self._regular(most, within_ns)

    def _regular(self, most: int, within_ns: int) -> tuple[int, int]:
        """Every round drafts as many tokens: contexts in running totals say what any number of them takes."""
        base, per_token = self._price
        if not per_token:
            rounds = min(most, max(1, -(-within_ns // base))) if base else most
            return rounds, base * rounds
        before = self._total if self._total_at == self.rounds else self._contexts_by(self.rounds)
        rounds, after = most, self._contexts_by(self.rounds + most)
        ns = longest = base * most + per_token * (after - before)
        if ns >= within_ns and most > 1:
            # contexts only grow, so rounds get dearer: what is reached by a chord is reached no sooner
            rounds = ns = 0
            while ns < within_ns or not rounds:
                rounds += max(1, -((rounds - most) * (within_ns - ns) // (longest - ns)) if longest > ns else 1)
                after = self._contexts_by(self.rounds + rounds)
                ns = base * rounds + per_token * (after - before)
        self._total, self._total_at = after, self.rounds + rounds
        return rounds, ns

    def _contexts_by(self, rounds: int) -> int:
        """Contexts of all requests' rounds, added up, once the batch has served so many."""
        return sum([contexts[ahead + rounds] for contexts, ahead in self._spans])

    def _irregular(self, most: int, within_ns: int) -> tuple[int, int]:
        """Draft lengths differ from round to round: each of the next rounds is priced."""
        cost, most = self._costs[len(self.seats) - 1], min(most, LOOK_AHEAD)
        at = [(seat.request.recorded, seat.rounds_ahead + self.rounds) for seat in self.seats]
        drafted = map(max, zip(*[r.round_drafted[k : k + most] for r, k in at], strict=True))
        context = map(sum, zip(*[r.round_contexts[k : k + most] for r, k in at], strict=True))
        rounds = ns = 0
        for round_ns in map(cost, drafted, context):
            rounds, ns = rounds + 1, ns + round_ns
            if ns >= within_ns:
                break
        return rounds, ns
