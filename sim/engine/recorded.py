"""What a request replays: its trace row's rounds, as plain lists and running totals."""

import itertools
from collections.abc import Hashable
from dataclasses import replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lapsd.policies import PolicyContext
from lapsd.traces import PricedTrace, Workload


class Recorded:
    """A trace row's rounds as plain lists and running totals with a leading 0; shared by all
    requests that replay it.

    Attributes
    ----------
    prompt_tokens, prefill_ns, rounds : int
    round_ns, emitted : list of int, by round
        Cost when alone, and tokens emitted.
    service_ns, tokens, drafted, accepted : list of int, by committed rounds
        What its rounds so far took when alone, and the output, draft and accepted tokens in them.
    rates : list of float, by committed rounds
        Accepted over drafted tokens so far.
    draft_tokens : int or None
        Draft tokens of every round; None where they differ.
    ranges : dict
        By `last` and from round `last` on, what `policies.Job.acceptance_range` is.
    predicted_rounds : dict
        Rounds at which something first happens, by the key of `policies.Job.predict_round`.
    values : dict
        Values by committed rounds, by prediction and the key of `policies.Job.ahead`.
    """

    def __init__(self, priced: PricedTrace, row: int) -> None:
        span, trace = priced.trace.rounds_of(row), priced.trace
        self.prompt_tokens = int(trace.prompt_tokens[row])
        self.prefill_ns = int(priced.prefill_ns[row])
        self.rounds = len(priced.round_ns[span])
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
        self.ranges: dict[int, list[float]] = {}
        self.predicted_rounds: dict[Hashable, int] = {}
        self.values: dict[tuple[int, Hashable], NDArray[np.float64]] = {}
        self._blocks_ahead: dict[int, NDArray[np.int64]] = {}

    def ranges_of(self, last: int) -> list[float]:
        """The largest less the smallest rate of `last` rounds, by the last of them; remembered in
        `ranges`.
        """
        windows = [self.rates[end - last + 1 : end + 1] for end in range(last, len(self.rates))]
        self.ranges[last] = [max(window) - min(window) for window in windows]
        return self.ranges[last]

    @cached_property
    def remaining_ns(self) -> list[int]:
        """What its further rounds take when alone, by committed rounds."""
        return [self.service_ns[-1] - s for s in self.service_ns]

    @cached_property
    def contexts_left(self) -> NDArray[np.int64]:
        """Contexts of its rounds so far, added up, less those of all its rounds, (committed
        rounds,).
        """
        contexts = self.prompt_tokens + np.array(self.tokens[:-1], dtype=np.int64)
        return np.asarray(np.append(0, np.cumsum(contexts)) - contexts.sum(), dtype=np.int64)

    @cached_property
    def looks_ahead(self) -> list[int]:
        """By committed rounds: tokens that the next one may fill: those it holds, the drafts and
        one more.
        """
        prompt = self.prompt_tokens + 1
        return [prompt + t + d for t, d in zip(self.tokens, self.round_drafted, strict=False)]

    def blocks_ahead(self, block: int) -> NDArray[np.int64]:
        """The same in blocks of so many tokens, rounded up, (rounds,); remembered."""
        blocks = self._blocks_ahead.get(block)
        if blocks is None:
            blocks = self._blocks_ahead[block] = -(
                -np.array(self.looks_ahead, dtype=np.int64) // block
            )
        return blocks

    @cached_property
    def round_drafted(self) -> list[int]:
        """Draft tokens of each round."""
        return [d - c for c, d in itertools.pairwise(self.drafted)]


_RECORDED: WeakKeyDictionary[PricedTrace, dict[int, Recorded]] = WeakKeyDictionary()


def recorded_rows(workload: Workload) -> list[Recorded]:
    """What each request of a workload replays, by index; made once a trace row and priced trace."""
    rows = _RECORDED.setdefault(workload.priced, {})
    for row in set(workload.rows.tolist()).difference(rows):
        rows[row] = Recorded(workload.priced, row)
    return [rows[row] for row in workload.rows.tolist()]


def with_truth(context: PolicyContext, recorded: list[Recorded]) -> PolicyContext:
    """The outlook of a clairvoyant policy: true sizes and acceptance added."""
    return replace(
        context,
        true_prefill_ns=[r.prefill_ns for r in recorded],
        true_remaining_ns=[r.remaining_ns for r in recorded],
        true_tokens_per_round=[r.tokens[-1] / r.rounds for r in recorded],
    )
