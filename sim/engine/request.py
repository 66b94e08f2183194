"""Requests as the server keeps them: what policies see of them, what was recorded, and the server's own books."""

import itertools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from policies import NEVER, Job, Outlook, Rank
from traces import PricedTrace, Workload


class Recorded:
    """A trace row's rounds as plain lists and running totals with a leading 0; shared by all requests that replay it.

    Attributes
    ----------
    prompt_tokens, prefill_ns : int
    round_ns, emitted : list of int, by round
        Cost when alone, and tokens emitted.
    service_ns, tokens, drafted, accepted : list of int, by committed rounds
        What its rounds so far took when alone, and the output, draft and accepted tokens in them.
    rates : list of float, by committed rounds
        Accepted over drafted tokens so far.
    draft_tokens : int or None
        Draft tokens of every round; None where they differ.
    """

    def __init__(self, priced: PricedTrace, row: int) -> None:
        span, trace = priced.trace.rounds_of(row), priced.trace
        self.prompt_tokens = int(trace.prompt_tokens[row])
        self.prefill_ns = int(priced.prefill_ns[row])
        self.round_ns: list[int] = priced.round_ns[span].tolist()
        self.emitted: list[int] = priced.emitted[span].tolist()
        self.service_ns: list[int]
        self.tokens: list[int]
        self.drafted: list[int]
        self.accepted: list[int]
        self.service_ns, self.tokens, self.drafted, self.accepted = (
            [0, *np.cumsum(column[span], dtype=np.int64).tolist()]
            for column in (priced.round_ns, priced.emitted, trace.drafted, trace.accepted)
        )
        self.rates = [a / d if d else 0.0 for a, d in zip(self.accepted, self.drafted, strict=True)]
        lengths = set(trace.drafted[span].tolist())
        self.draft_tokens: int | None = lengths.pop() if len(lengths) == 1 else None
        self.foreseen: dict[Hashable, int] = {}

    @cached_property
    def left_ns(self) -> list[int]:
        """What its further rounds take when alone, by committed rounds."""
        return [self.service_ns[-1] - s for s in self.service_ns]

    @cached_property
    def contexts(self) -> list[int]:
        """Contexts of its rounds so far added up, by committed rounds."""
        return [0, *itertools.accumulate(self.round_contexts)]

    @cached_property
    def round_contexts(self) -> list[int]:
        """Context of each round."""
        return [self.prompt_tokens + t for t in self.tokens[:-1]]

    @cached_property
    def round_drafted(self) -> list[int]:
        """Draft tokens of each round."""
        return [d - c for c, d in itertools.pairwise(self.drafted)]

    def foresee(self, key: Hashable, happens: Callable[[Job], bool]) -> int:
        """The first number of committed rounds at which `happens`; remembered in `foreseen`. O(rounds)."""
        replay, found = Request(0, 0, 0, self), NEVER
        for rounds in range(1, len(self.round_ns) + 1):
            replay.rounds, replay.tokens = rounds, self.tokens[rounds]
            if happens(replay):
                found = rounds
                break
        self.foreseen[key] = found
        return found


@dataclass(slots=True, eq=False)
class Request:
    """A request in the server: the `policies.Job` that policies see, and the server's own books."""

    index: int
    arrival_ns: int
    predicted_tokens: int
    recorded: Recorded

    started: bool = False
    rounds: int = 0
    tokens: int = 0
    service_ns: int = 0
    queue: int = 1
    memo: Any = None

    entered_ns: int = 0
    place: Any = None  # its entry in the heap of those who wait
    running: bool = False
    away: bool = False  # started, and its KV cache is not in memory
    # in a batch: what its counters are ahead of the batch's, those of the batch at which it needs a decision (0 while
    # the policy has to be asked), and what its rank does not exceed until then, or None
    rounds_ahead: int = 0
    service_ahead: int = 0
    until_round: int = 0
    until_service: int = 0
    ceiling: Rank | None = None
    rising: bool = False
    prefill_spent_ns: int = 0
    first_service_ns: int = -1
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

    def foresee(self, key: Hashable, happens: Callable[[Job], bool]) -> int:
        found = self.recorded.foreseen.get(key)
        return self.recorded.foresee(key, happens) if found is None else found

    @property
    def done(self) -> bool:
        return self.rounds == len(self.recorded.round_ns)

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values the request holds; also its context."""
        return self.recorded.prompt_tokens + self.tokens

    @property
    def next_drafted(self) -> int:
        """Draft tokens of its next round."""
        return self.recorded.drafted[self.rounds + 1] - self.recorded.drafted[self.rounds]

    @property
    def kv_needed(self) -> int:
        """KV tokens that its next round may fill: what it holds, the drafts and one more."""
        return self.kv_tokens + self.next_drafted + 1


_RECORDED: WeakKeyDictionary[PricedTrace, dict[int, Recorded]] = WeakKeyDictionary()


def recorded_rows(workload: Workload) -> list[Recorded]:
    """What each request of a workload replays, by index; made once a trace row and priced trace."""
    rows = _RECORDED.setdefault(workload.priced, {})
    for row in set(workload.rows.tolist()).difference(rows):
        rows[row] = Recorded(workload.priced, row)
    return [rows[row] for row in workload.rows.tolist()]


def with_truth(outlook: Outlook, recorded: list[Recorded]) -> Outlook:
    """The outlook of a clairvoyant policy: true sizes and acceptance added."""
    return Outlook(
        outlook.mean_round_ns,
        outlook.past_sizes_ns,
        true_prefill_ns=[r.prefill_ns for r in recorded],
        true_left_ns=[r.left_ns for r in recorded],
        true_tokens_per_round=[r.tokens[-1] / len(r.round_ns) for r in recorded],
    )
