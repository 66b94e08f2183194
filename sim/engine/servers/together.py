"""Whether those who run together fit the memory, and for how long."""

from collections.abc import Sequence

from lapsd.sim.engine.memory import AddsUp, Memory
from lapsd.sim.engine.request import Request
from lapsd.sim.engine.servers.running_batch import RunningBatch
from lapsd.sim.engine.servers.totals import Needs


class Together:
    """Those who run, in memory: by sums of what they need where those can be kept, O(1); else
    counted, O(requests).

    Attributes
    ----------
    needs : Needs or None
        The sums: where needs add up, and each request drafts as many tokens in all its rounds.
    """

    def __init__(self, memory: Memory, batch: RunningBatch, regular: bool) -> None:
        self.memory, self.batch = memory, batch
        self.needs = Needs(memory) if regular and isinstance(memory, AddsUp) else None
        batch.needs = self.needs

    def held(self) -> int:
        """What they needed in the last round, for memory that sums; of who has not stopped
        since.
        """
        assert self.needs is not None
        return self.needs.last(self.batch.rounds)

    def stops(self, held: int) -> None:
        """Somebody who ran the last round stops, and held so much in it."""
        assert self.needs is not None
        self.needs.out_of_last(held, self.batch.rounds)

    def settle(self, request: Request) -> None:
        """Bring up to date how far one is who runs."""
        self.batch.settle(
            next(
                batch_slot for batch_slot in self.batch.batch_slots if batch_slot.request is request
            )
        )

    def needed(self) -> int:
        """What they need in the next round, for memory that sums."""
        assert self.needs is not None
        return self.needs.at(self.batch.rounds)

    def fit(self, more: Sequence[Request] = ()) -> bool:
        """Whether they can run the next round, with those beside them."""
        if self.needs is None:
            return self.memory.fits([*self.batch.settled(), *more])
        memory, needed = self.needs.memory, self.needed()
        return needed + memory.needed(more) <= memory.room()

    def first_that_fit(self, first: list[Request]) -> list[Request]:
        """Of those, who have seats, as many of the first as fit."""
        runs = len(self.batch.batch_slots)
        all_run = all([r.running for r in first[:runs]])  # noqa: C419 - in half the time
        if self.needs is not None and len(first) >= runs and all_run:
            memory, needed, fit = self.needs.memory, self.needed(), runs
            room = memory.room()
            if needed <= room:
                for request in first[runs:]:
                    needed += memory.needed((request,))
                    if needed > room:
                        break
                    fit += 1
                return first[:fit]
        self.batch.settled()
        return self.memory.first_that_fit(first, len(first))

    def last(self, most: int) -> int:
        """How many of the next `most` rounds they fit, at least 1, if nobody else comes."""
        if self.needs is None:
            return self.memory.lasts(self.batch.settled(), most)
        resident = self.needs.memory.resident
        parked = (
            [r for r in resident if not r.running]
            if len(resident) > len(self.batch.batch_slots)
            else ()
        )
        return max(1, self.within(most, self.needs.memory.room(parked)))

    def within(self, most: int, room: int) -> int:
        """In how many of the next `most` rounds they need at most that; where they are counted, of
        the next alone.
        """
        if self.needs is not None:
            return self.needs.within(self.batch.rounds, most, room)
        assert isinstance(self.memory, AddsUp)
        return int(self.memory.needed(self.batch.settled()) <= room)
