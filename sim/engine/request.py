"""A request in the server: the `policies.Job` that policies see, and what the server keeps of
it.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import NEVER, Job
from lapsd.sim.engine.recorded import Recorded

VALUES_KEPT = 64  # of a trace row, by prediction and key


@dataclass(slots=True, eq=False)
class Request:
    """A request in the server.

    Attributes
    ----------
    recorded : Recorded
        What it replays.
    entered_ns : int
        When it came into its queue: at first its arrival.
    started, rounds, tokens, service_ns, queue, memo
        As in `policies.Job`.
    running : bool
        It is one of those who run the present round.
    uncomputed_tokens : int
        Tokens to prefill before its next round can run, where that is done in steps that others
        share (of its prompt, or of a cache that was dropped), or the cache that it gave up is to be
        computed again.
    waiting_entry : tuple or None
        Its entry in the heap of those who wait.
    prefill_ns, first_service_ns, first_token_ns, switch_ns, preemptions : int
        For the run's record: time spent in prefill, when that began (-1: not yet), when its first
        round was over, moves of its KV cache, and how often it had to stop.
    """

    index: int
    arrival_ns: int
    predicted_tokens: int
    recorded: Recorded
    entered_ns: int

    started: bool = False
    rounds: int = 0
    tokens: int = 0
    service_ns: int = 0
    queue: int = 1
    state: Any = None

    running: bool = False
    uncomputed_tokens: int = 0
    waiting_entry: Any = None
    prefill_ns: int = 0
    first_service_ns: int = -1
    first_token_ns: int = -1
    switch_ns: int = 0
    preemptions: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.recorded.prompt_tokens

    @property
    def drafted(self) -> int:
        return self.recorded.drafted[self.rounds]

    @property
    def accepted(self) -> int:
        return self.recorded.accepted[self.rounds]

    def acceptance(self, rounds: int) -> float:
        assert 0 <= rounds <= self.rounds, "a policy may look at committed rounds only"
        return self.recorded.rates[rounds]

    def acceptances(self, last: int) -> list[float]:
        assert 0 <= last <= self.rounds, "a policy may look at committed rounds only"
        return self.recorded.rates[self.rounds - last + 1 : self.rounds + 1]

    def acceptance_range(self, last: int) -> float:
        assert 0 < last <= self.rounds, "a policy may look at committed rounds only"
        ranges = self.recorded.ranges.get(last) or self.recorded.ranges_of(last)
        return ranges[self.rounds - last]

    def predict_round(self, key: Hashable, happens: Callable[[Job], bool]) -> int:
        predicted_rounds = self.recorded.predicted_rounds.get(key)
        return (
            predict_round(self.recorded, key, happens)
            if predicted_rounds is None
            else predicted_rounds
        )

    def ahead(self, key: Hashable, value: Callable[[Job], float]) -> NDArray[np.float64]:
        values = self.recorded.values.get((self.predicted_tokens, key))
        return ahead(self, key, value) if values is None else values

    @property
    def done(self) -> bool:
        return self.rounds == self.recorded.rounds

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values the request holds; also its context."""
        return self.recorded.prompt_tokens + self.tokens

    @property
    def next_drafted(self) -> int:
        """Draft tokens of its next round."""
        return self.recorded.round_drafted[self.rounds]

    @property
    def kv_needed(self) -> int:
        """KV tokens that its next round may fill: what it holds, the drafts and one more."""
        return self.recorded.looks_ahead[self.rounds]


def predict_round(recorded: Recorded, key: Hashable, happens: Callable[[Job], bool]) -> int:
    """The first number of committed rounds at which `happens`, or `NEVER`; remembered by `key`.

    O(rounds).
    """
    replay, first = Request(0, 0, 0, recorded, 0), NEVER
    for rounds in range(1, recorded.rounds + 1):
        replay.rounds, replay.tokens = rounds, recorded.tokens[rounds]
        if happens(replay):
            first = rounds
            break
    recorded.predicted_rounds[key] = first
    return first


def ahead(request: Request, key: Hashable, value: Callable[[Job], float]) -> NDArray[np.float64]:
    """What `value` is of a request at each of its rounds; those of some predictions are remembered.

    O(rounds).
    """
    recorded = request.recorded
    replay = Request(
        request.index,
        request.arrival_ns,
        request.predicted_tokens,
        recorded,
        0,
        started=True,
        state=request.state,
    )
    values = np.empty(recorded.rounds)
    for rounds in range(recorded.rounds):
        replay.rounds, replay.tokens = rounds, recorded.tokens[rounds]
        values[rounds] = value(replay)
    if len(recorded.values) >= VALUES_KEPT:
        recorded.values.clear()
    recorded.values[request.predicted_tokens, key] = values
    return values
