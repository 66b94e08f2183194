"""Those who run together, and when one of them needs a decision.

Rounds and time served are counted for the whole batch; a request's own counters are those plus what
it was ahead by when it sat down, and are written back when somebody asks (`settle`).
"""

from bisect import bisect_left
from heapq import heappop, heappush

from lapsd.policies import NEVER, Rank, Until
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.servers.stretches import Stretches
from lapsd.sim.engine.servers.totals import Needs


class BatchSlot:
    """A running request's seat in the batch.

    Attributes
    ----------
    request : Request
    number : int
        Of all who ever sat down.
    rounds_ahead, service_ahead : int
        What the request's counters are ahead of the batch's.
    until_round, until_service : int
        Counters of the batch at which it needs a decision: 0 while the policy has to be asked, -1
        when it has left.
    rising : bool
        Its rank may rise until then, though not above the best waiting rank of now.
    steady : bool
        It does not change until then.
    entry : tuple or None
        Its place in the order of a decision, where it is steady and that is known;
        `OffloadServer`'s.
    bound : tuple or None
        What its rank does not exceed until then, if that is known; `WorstRunning`'s.
    ranked_at : int
        The batch's rounds at which the rank itself was known.
    """

    __slots__ = (
        "bound",
        "entry",
        "number",
        "ranked_at",
        "request",
        "rising",
        "rounds_ahead",
        "service_ahead",
        "steady",
        "until_round",
        "until_service",
    )

    def __init__(self, request: Request, number: int, rounds: int, service_ns: int) -> None:
        self.request = request
        self.number = number
        self.rounds_ahead = request.rounds - rounds
        self.service_ahead = request.service_ns - service_ns
        self.until_round = self.until_service = 0
        self.rising = self.steady = False
        self.entry: tuple[Rank, int, int, Request] | None = None
        self.bound: tuple[Rank, int, int, int, BatchSlot] | None = None
        self.ranked_at = -1

    @classmethod
    def nobodys(cls) -> "BatchSlot":
        """One that never needs a decision."""
        batch_slot = cls.__new__(cls)
        batch_slot.until_round = batch_slot.until_service = NEVER
        return batch_slot


class RunningBatch:
    """The running requests.

    Attributes
    ----------
    rounds, service_ns : int
        Rounds served by the batch, and the time they took.
    batch_slots, to_ask : list of Seat
        Who runs, and of whom the policy has still to be asked how long.
    stretches : Stretches
        What their rounds take.
    needs : Needs or None
        What they need of memory, where that is summed.
    """

    def __init__(self, stretches: Stretches) -> None:
        self.rounds = self.service_ns = 0
        self.batch_slots: list[BatchSlot] = []
        self.to_ask: list[BatchSlot] = []
        self.stretches = stretches
        self.needs: Needs | None = None
        self._sat = 0
        # (the batch's counter at which a decision is needed, number, seat); past ones are dropped
        # as they surface
        self._round_limits: list[tuple[int, int, BatchSlot]] = [(NEVER, 0, BatchSlot.nobodys())]
        self._service_limits: list[tuple[int, int, BatchSlot]] = [(NEVER, 0, BatchSlot.nobodys())]

    def sit(self, request: Request) -> None:
        """A request takes a seat."""
        self._sat += 1
        batch_slot = BatchSlot(request, self._sat, self.rounds, self.service_ns)
        self.batch_slots.append(batch_slot)
        self.to_ask.append(batch_slot)
        self.stretches.sit(request, self.rounds)
        if self.needs is not None:
            self.needs.sit(request, self.rounds)

    def leave(self, batch_slot: BatchSlot) -> None:
        """A settled request leaves its seat."""
        number = self.batch_slots.index(batch_slot)
        del self.batch_slots[number]
        self.stretches.leave(number, batch_slot.request, self.rounds)
        if self.needs is not None:
            self.needs.leave(batch_slot.request, self.rounds)
        batch_slot.until_round = batch_slot.until_service = -1

    def settle(self, batch_slot: BatchSlot) -> Request:
        """The seat's request with its counters up to date."""
        request = batch_slot.request
        request.rounds = rounds = self.rounds + batch_slot.rounds_ahead
        request.service_ns = self.service_ns + batch_slot.service_ahead
        request.tokens = request.recorded.tokens[rounds]
        return request

    def settled(self) -> list[Request]:
        """Those who run, in order of seats, with their counters up to date."""
        rounds, service_ns, settled = self.rounds, self.service_ns, []
        for (
            batch_slot
        ) in self.batch_slots:  # as `settle`, which for each would take half as long again
            request = batch_slot.request
            request.rounds = done = rounds + batch_slot.rounds_ahead
            request.service_ns = service_ns + batch_slot.service_ahead
            request.tokens = request.recorded.tokens[done]
            settled.append(request)
        return settled

    def run_until(self, batch_slot: BatchSlot, until: Until) -> None:
        """The request needs a decision once any of its own counters is there, or it is done.

        O(log seats).
        """
        rounds, service_ns, tokens, batch_slot.rising, batch_slot.steady = until
        recorded = batch_slot.request.recorded
        last = recorded.rounds
        if rounds < last:
            last = rounds
        if tokens < NEVER and tokens <= recorded.tokens[last]:
            last = bisect_left(recorded.tokens, tokens, 0, last)
        last -= batch_slot.rounds_ahead
        if last <= self.rounds:
            last = self.rounds + 1  # a round is always served
        batch_slot.until_round = last
        heappush(self._round_limits, (last, batch_slot.number, batch_slot))
        if service_ns < NEVER:
            batch_slot.until_service = service_ns = service_ns - batch_slot.service_ahead
            heappush(self._service_limits, (service_ns, batch_slot.number, batch_slot))

    def ask(self, batch_slot: BatchSlot) -> None:
        """The policy is to be asked again."""
        batch_slot.until_round = batch_slot.until_service = 0
        batch_slot.bound = batch_slot.entry = None
        self.to_ask.append(batch_slot)

    def advance(self, rounds: int, ns: int) -> list[BatchSlot]:
        """So many rounds are over: those who need a decision now, which the policy is to be asked
        again.
        """
        self.rounds = now = self.rounds + rounds
        self.service_ns = served_ns = self.service_ns + ns
        reached: list[BatchSlot] = []
        limits = self._round_limits
        while limits[0][0] <= now:
            until, _, batch_slot = heappop(limits)
            if batch_slot.until_round == until:
                self.ask(batch_slot)
                reached.append(batch_slot)
        limits = self._service_limits
        while limits[0][0] <= served_ns:
            until, _, batch_slot = heappop(limits)
            if batch_slot.until_service == until:
                self.ask(batch_slot)
                reached.append(batch_slot)
        return reached

    def limits(self) -> tuple[int, int]:
        """Rounds, and time served, until somebody needs a decision."""
        limits = self._round_limits
        while limits[0][2].until_round != limits[0][0]:
            heappop(limits)
        rounds = limits[0][0] - self.rounds
        limits = self._service_limits
        while limits[0][2].until_service != limits[0][0]:
            heappop(limits)
        return rounds, limits[0][0] - self.service_ns
