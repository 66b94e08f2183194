"""What stretches of rounds take that requests run together: a round costs by its longest draft and
its contexts.

Knows nothing of policies, nor of who needs a decision when: `running_batch` does.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence

from lapsd.sim.engine.request import Request
from lapsd.sim.engine.servers.totals import Totals
from lapsd.traces import RoundCost


class Stretches(ABC):
    """Those who run, by what their rounds take.

    Times are of the batch's rounds, counted from the run's first.

    Parameters
    ----------
    costs : of a round, by batch size less one.
    """

    def __init__(self, costs: Sequence[RoundCost]) -> None:
        self._costs = costs
        # what contexts of all who run, added up to a round, lack to the totals over all their
        # rounds; differences say what stretches take, also across a round where somebody is done
        self._contexts = Totals()

    def sit(self, request: Request, rounds: int) -> None:
        """A request runs after the batch's first `rounds`."""
        here = self._contexts.of(request, rounds)
        here += request.recorded.contexts_left[request.rounds : -1]
        self._sat(request, rounds)

    def leave(self, number: int, request: Request, rounds: int) -> None:
        """A request, the `number`-th of those who run, runs no more after the batch's first
        `rounds`.
        """
        if not request.done:
            here = self._contexts.of(request, rounds)
            here -= request.recorded.contexts_left[request.rounds : -1]
        self._left(number, request)

    @abstractmethod
    def _sat(self, request: Request, rounds: int) -> None: ...

    @abstractmethod
    def _left(self, number: int, request: Request) -> None: ...

    @abstractmethod
    def up_to(self, rounds: int, most: int, within_ns: int) -> tuple[int, int]:
        """How many rounds, at least one, until `most` are over or `within_ns` is reached, and the
        time they take.

        `rounds` are over.
        """


class RegularStretches(Stretches):
    """Each request drafts as many tokens in all its rounds: while the same run, rounds differ in
    contexts alone.
    """

    def __init__(self, costs: Sequence[RoundCost]) -> None:
        super().__init__(costs)
        self._running = 0
        self._drafting: dict[int, int] = {}  # how many run, by their draft tokens
        self._price: tuple[int, int] | None = None  # of a round, and of each context token

    def _sat(self, request: Request, rounds: int) -> None:
        drafted = request.recorded.draft_tokens
        assert drafted is not None
        self._drafting[drafted] = self._drafting.get(drafted, 0) + 1
        self._running += 1
        self._price = None

    def _left(self, number: int, request: Request) -> None:
        drafted = request.recorded.draft_tokens
        assert drafted is not None
        self._drafting[drafted] -= 1
        if not self._drafting[drafted]:
            del self._drafting[drafted]
        self._running -= 1
        self._price = None

    def up_to(self, rounds: int, most: int, within_ns: int) -> tuple[int, int]:
        base, per_token = self._price or self._set_price()
        contexts = self._contexts
        total, now = contexts.values.item, rounds - contexts.origin
        before = total(now)
        ns = longest = base * most + per_token * (total(now + most) - before)
        if ns < within_ns or most == 1:
            return most, ns
        # contexts only grow, so rounds get dearer: what is reached by a chord is reached no sooner
        over = ns = 0
        while ns < within_ns or not over:
            over += max(
                1, -((over - most) * (within_ns - ns) // (longest - ns)) if longest > ns else 1
            )
            ns = base * over + per_token * (total(now + over) - before)
        return over, ns

    def _set_price(self) -> tuple[int, int]:
        cost, drafted = self._costs[self._running - 1], max(self._drafting)
        self._price = cost.base_ns(drafted), cost.per_token_ns(drafted)
        return self._price


class IrregularStretches(Stretches):
    """Draft lengths differ from round to round: each round is priced, as far as it is needed."""

    def __init__(self, costs: Sequence[RoundCost]) -> None:
        super().__init__(costs)
        self._running: list[Request] = []
        self._drafts: list[
            tuple[list[int], int]
        ] = []  # of each that runs by its rounds, and those ahead of the batch's
        self._prices: list[dict[int, tuple[int, int]]] = [
            {} for _ in costs
        ]  # by batch size less one and draft tokens
        self._ahead: list[
            int
        ] = []  # what the rounds after the first `_priced_at` take, added up, as far as was asked
        self._priced_at = 0

    def _sat(self, request: Request, rounds: int) -> None:
        self._running.append(request)
        self._drafts.append((request.recorded.round_drafted, request.rounds - rounds))
        self._ahead.clear()

    def _left(self, number: int, request: Request) -> None:
        del self._running[number], self._drafts[number]
        self._ahead.clear()

    def up_to(self, rounds: int, most: int, within_ns: int) -> tuple[int, int]:
        if len(self._running) == 1:
            totals, done = self._running[0].recorded.service_ns, rounds + self._drafts[0][1]
            last = bisect_left(totals, within_ns + totals[done], done + 1, done + most)
            return last - done, totals[last] - totals[done]
        ahead = self._ahead
        if self._priced_at != rounds:
            ahead.clear()
            self._priced_at = rounds
        if not ahead or (ahead[-1] < within_ns and len(ahead) < most):
            return self._price_ahead(rounds, most, within_ns)
        over = bisect_left(ahead, within_ns, 0, min(most, len(ahead)) - 1) + 1
        return over, ahead[over - 1]

    def _price_ahead(self, rounds: int, most: int, within_ns: int) -> tuple[int, int]:
        """Price further rounds until `most` are over or `within_ns` is reached, at least one."""
        ahead, drafts, total, start = (
            self._ahead,
            self._drafts,
            self._contexts.values.item,
            self._contexts.origin,
        )
        cost, prices = self._costs[len(drafts) - 1], self._prices[len(drafts) - 1]
        at, end, ns = rounds + len(ahead), rounds + most, ahead[-1] if ahead else 0
        before = total(at - start)
        while at < end:
            drafted = max([lengths[at + more] for lengths, more in drafts])
            if drafted not in prices:
                prices[drafted] = cost.base_ns(drafted), cost.per_token_ns(drafted)
            base, per_token = prices[drafted]
            at += 1
            after = total(at - start)
            ns += base + per_token * (after - before)
            ahead.append(ns)
            if ns >= within_ns:
                break
            before = after
        return at - rounds, ns
