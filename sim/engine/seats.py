"""Those who run together: columns by seat, counters kept once for all, and what stretches of their rounds take.

Rounds and time served are counted for the whole batch; a request's own counters are those plus what it was ahead by
when it sat down, and are written back when somebody asks (`settle`).
"""

from bisect import bisect_left, bisect_right
from heapq import heappop, heappush
from typing import Any

from policies import NEVER
from sim.engine.request import Request
from traces import RoundCost

LOOK_AHEAD = 32  # rounds priced one by one


class Seats:
    """The running requests.

    Attributes
    ----------
    rounds, service_ns : int
        Rounds served by the batch, and the time they took.
    requests, to_ask : list of Request
        Who runs, and of whom the policy has still to be asked how long.
    """

    def __init__(self, costs: list[RoundCost]) -> None:
        self.rounds = self.service_ns = 0
        self.requests: list[Request] = []
        self.to_ask: list[Request] = []
        # (the batch's counter at which a decision is needed, index, request); past ones are dropped as they surface
        self._round_limits: list[tuple[int, int, Request]] = []
        self._service_limits: list[tuple[int, int, Request]] = []
        # running totals of contexts, and the rounds that the request is ahead by
        self._spans: list[tuple[list[int], int]] = []
        self._drafts: list[Any] = []  # draft tokens of every round of each, or None
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
        request.rounds_ahead = ahead = request.rounds - self.rounds
        request.service_ahead = request.service_ns - self.service_ns
        request.ceiling, request.rising = None, False
        request.until_round = request.until_service = 0
        self.requests.append(request)
        self.to_ask.append(request)
        self._spans.append((contexts, ahead))
        self._drafts.append(request.recorded.draft_tokens)
        self._priced = False

    def leave(self, request: Request) -> None:
        """A settled request leaves its seat."""
        seat = self.requests.index(request)
        if self._total_at == self.rounds:
            self._total -= request.recorded.contexts[request.rounds]
        del self.requests[seat], self._spans[seat], self._drafts[seat]
        request.until_round = request.until_service = 0
        self._priced = False

    def _set_price(self) -> None:
        self._priced = True
        self._drafted = None
        if None not in self._drafts:
            cost = self._costs[len(self._drafts) - 1]
            self._drafted = drafted = max(self._drafts)
            self._price = cost.base_ns(drafted), cost.per_token_ns(drafted)

    def settle(self, request: Request) -> Request:
        """The request with its counters up to date."""
        request.rounds = rounds = self.rounds + request.rounds_ahead
        request.service_ns = self.service_ns + request.service_ahead
        request.tokens = request.recorded.tokens[rounds]
        return request

    def run_until(self, request: Request, rounds: int, service_ns: int, tokens: int) -> None:
        """The request needs a decision once any of its own counters is there, or it is done. O(log seats)."""
        totals = request.recorded.tokens
        last = len(totals) - 1
        if rounds < last:
            last = rounds
        if tokens <= totals[last]:
            last = bisect_left(totals, tokens, 0, last)
        until = last - request.rounds_ahead
        if until <= self.rounds:
            until = self.rounds + 1  # a round is always served
        request.until_round = until
        heappush(self._round_limits, (until, request.index, request))
        if service_ns < NEVER:
            request.until_service = until = service_ns - request.service_ahead
            heappush(self._service_limits, (until, request.index, request))

    def ask(self, request: Request) -> None:
        """The policy is to be asked again."""
        request.until_round = request.until_service = 0
        request.ceiling = None
        self.to_ask.append(request)

    def reached(self) -> Request | None:
        """A request that needs a decision now, settled, or None."""
        limits = self._round_limits
        while limits and limits[0][0] <= self.rounds:
            until, _, request = heappop(limits)
            if request.until_round == until:
                return self.settle(request)
        limits = self._service_limits
        while limits and limits[0][0] <= self.service_ns:
            until, _, request = heappop(limits)
            if request.until_service == until:
                return self.settle(request)
        return None

    def limits(self) -> tuple[int, int]:
        """Rounds, and time served, until some request needs a decision."""
        limits = self._round_limits
        while limits[0][2].until_round != limits[0][0]:
            heappop(limits)
        rounds = limits[0][0] - self.rounds
        limits = self._service_limits
        while limits and limits[0][2].until_service != limits[0][0]:
            heappop(limits)
        return rounds, limits[0][0] - self.service_ns if limits else NEVER

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
