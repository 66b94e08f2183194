"""Those who run together: columns by seat, counters kept once for all, and what stretches of their rounds take.

Rounds and time served are counted for the whole batch; a request's own counters are those plus what it was ahead by
when it sat down, and are written back when somebody asks (`settle`).
"""

from bisect import bisect_left, bisect_right

from policies import NEVER
from sim.engine.request import Request
from traces import RoundCost

LOOK_AHEAD = 32  # rounds priced one by one
ASK = 2 * NEVER


class Seats:
    """The running requests.

    Attributes
    ----------
    rounds, service_ns : int
        Rounds served by the batch, and the time they took.
    requests : list of Request
    until_round, until_service : list of int
        The batch's counters at which a request needs a decision; `ASK` where the policy is to be asked.
    next_round, next_service : int
        No more than the least of those.
    """

    def __init__(self, costs: list[RoundCost]) -> None:
        self.rounds = self.service_ns = 0
        self.requests: list[Request] = []
        self.until_round: list[int] = []
        self.until_service: list[int] = []
        self.next_round = self.next_service = ASK
        # running totals of contexts, and the rounds that the request is ahead by
        self._spans: list[tuple[list[int], int]] = []
        self._costs = costs
        self._priced = False  # the next two hold
        self._drafted: int | None = None  # tokens in every round; None: they differ from round to round
        self._price = (0, 0)  # a round's base, and what a context token adds, where they do not differ
        self._total = self._total_at = 0  # contexts added up, and the round where that was

    def __len__(self) -> int:
        return len(self.requests)

    def sit(self, request: Request) -> None:
        """A request takes a seat."""
        contexts = request.recorded.contexts
        if self._total_at == self.rounds:
            self._total += contexts[request.rounds]
        request.rounds_ahead = ahead = request.rounds - self.rounds
        request.service_ahead = request.service_ns - self.service_ns
        request.ceiling, request.rising = None, False
        self.requests.append(request)
        self.until_round.append(ASK)
        self.until_service.append(ASK)
        self._spans.append((contexts, ahead))
        self._priced = False

    def leave(self, request: Request) -> None:
        """A settled request leaves its seat."""
        seat = self.requests.index(request)
        if self._total_at == self.rounds:
            self._total -= request.recorded.contexts[request.rounds]
        del self.requests[seat], self.until_round[seat], self.until_service[seat], self._spans[seat]
        self._priced = False

    def _set_price(self) -> None:
        self._priced = True
        lengths = [r.recorded.draft_tokens for r in self.requests]
        self._drafted = None
        if None not in lengths:
            cost = self._costs[len(lengths) - 1]
            self._drafted = drafted = max(n for n in lengths if n is not None)
            self._price = cost.base_ns(drafted), cost.per_token_ns(drafted)

    def settle(self, request: Request) -> Request:
        """The request with its counters up to date."""
        request.rounds = rounds = self.rounds + request.rounds_ahead
        request.service_ns = self.service_ns + request.service_ahead
        request.tokens = request.recorded.tokens[rounds]
        return request

    def run_until(self, seat: int, rounds: int, service_ns: int, tokens: int) -> None:
        """The request needs a decision once any of its own counters is there, or it is done."""
        request = self.requests[seat]
        totals = request.recorded.tokens
        last = len(totals) - 1
        if rounds < last:
            last = rounds
        if tokens <= totals[last]:
            last = bisect_left(totals, tokens, 0, last)
        until = last - request.rounds_ahead
        if until <= self.rounds:
            until = self.rounds + 1  # a round is always served
        self.until_round[seat] = until
        self.until_service[seat] = service_ns = service_ns - request.service_ahead
        if until < self.next_round:
            self.next_round = until
        if service_ns < self.next_service:
            self.next_service = service_ns

    def ask(self, request: Request) -> None:
        """The policy is to be asked again."""
        seat = self.requests.index(request)
        self.until_round[seat] = self.until_service[seat] = ASK
        request.ceiling = None

    def reached(self) -> Request | None:
        """A request that needs a decision now, settled, or None. Amortised O(1) where none does."""
        if self.rounds < self.next_round and self.service_ns < self.next_service:
            return None
        self.next_round = min(self.until_round, default=ASK)
        if self.next_round <= self.rounds:
            return self.settle(self.requests[self.until_round.index(self.next_round)])
        self.next_service = min(self.until_service, default=ASK)
        if self.next_service <= self.service_ns:
            return self.settle(self.requests[self.until_service.index(self.next_service)])
        return None

    def up_to(self, most: int, within_ns: int, free: int | None) -> tuple[int, int]:
        """Rounds until `most` are over or `within_ns` is reached, at least one, and the time they take.

        `free`: KV tokens that the requests may hold together when a round begins; None: no limit.
        """
        if not self._priced:
            self._set_price()
        if free is not None:
            if self._drafted is None:  # what a round may add goes up and down
                most = 1
            elif most > 1:
                most = max(1, bisect_right(range(most), free, key=self._held))
        if len(self.requests) == 1:
            request = self.requests[0]
            totals, done = request.recorded.service_ns, self.rounds + request.rounds_ahead
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
        cost, most = self._costs[len(self.requests) - 1], min(most, LOOK_AHEAD)
        at = [(r.recorded, r.rounds_ahead + self.rounds) for r in self.requests]
        drafted = map(max, zip(*[r.round_drafted[k : k + most] for r, k in at], strict=True))
        context = map(sum, zip(*[r.round_contexts[k : k + most] for r, k in at], strict=True))
        rounds = ns = 0
        for round_ns in map(cost, drafted, context):
            rounds, ns = rounds + 1, ns + round_ns
            if ns >= within_ns:
                break
        return rounds, ns

    def _held(self, rounds: int) -> int:
        """KV tokens held, with what the next round may add, once `rounds` are over."""
        then = self.rounds + rounds
        return sum(
            r.prompt_tokens + r.recorded.tokens[r.rounds_ahead + then] + (r.recorded.draft_tokens or 0) + 1
            for r in self.requests
        )
