"""The rounds of a request with running totals: of its trace row, or so far."""

import itertools
from dataclasses import replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from lapsd.policies import NEVER, PolicyContext
from lapsd.traces import PricedTrace, Trace, Workload


def cacheable(trace: Trace, row: int) -> tuple[int, ...]:
    """Return the hashes of the blocks of a row's prompt that may be cached.

    The last token of a prompt is always computed, so that the first round can verify it.
    """
    if trace.prefixes is None:
        return ()
    most = max(0, int(trace.prompt_tokens[row]) - 1) // trace.prefixes.block
    return tuple(trace.prefixes.of_row(row)[:most].tolist())


class Recorded:
    """The rounds of a trace row as plain lists, shared by all requests that replay it.

    Attributes
    ----------
    prompt_tokens, prefill_ns, rounds : int
    hashes : tuple of int
        Hashes of the leading blocks of the prompt before its last token; empty where the trace
        holds none.
    round_ns, emitted : list of int, by round
        Cost of the round when the request runs alone, and tokens that it emits.
    service_ns, tokens, drafted, accepted : list of int, by committed rounds
        Totals of the first rounds: their time when the request runs alone, and their output, draft
        and accepted tokens.
    rates : list of float, by committed rounds
        Accepted over drafted tokens in the first rounds.
    """

    def __init__(self, priced: PricedTrace, row: int) -> None:
        span, trace = priced.trace.rounds_of(row), priced.trace
        self.prompt_tokens = int(trace.prompt_tokens[row])
        self.hashes = cacheable(trace, row)
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

    @cached_property
    def remaining_ns(self) -> tuple[int, ...]:
        """Time of the remaining rounds when the request runs alone, by committed rounds."""
        return tuple([self.service_ns[-1] - s for s in self.service_ns])

    @property
    def output_tokens(self) -> int:
        """Output tokens of all rounds."""
        return self.tokens[-1]

    @property
    def longest_draft(self) -> int:
        """Draft tokens of the longest draft."""
        return max(self.round_drafted)

    @cached_property
    def looks_ahead(self) -> list[int]:
        """KV tokens that the next round may fill, by committed rounds: the context, the drafts and
        one more.
        """
        prompt = self.prompt_tokens + 1
        return [prompt + t + d for t, d in zip(self.tokens, self.round_drafted, strict=False)]

    @cached_property
    def round_drafted(self) -> list[int]:
        """Draft tokens of each round."""
        return [d - c for c, d in itertools.pairwise(self.drafted)]


class RoundsSoFar(Recorded):
    """The rounds of a request so far, where neither their number nor their drafts are known before.

    Parameters
    ----------
    most : the longest draft, for which memory is reserved.
    hashes : as those of `Recorded`.
    """

    def __init__(self, prompt_tokens: int, most: int, hashes: tuple[int, ...] = ()) -> None:
        self.prompt_tokens, self.most, self.rounds = prompt_tokens, most, NEVER
        self.emitted, self.round_drafted = [], []
        self.tokens, self.drafted, self.accepted, self.rates = [0], [0], [0], [0.0]
        self.rejected, self.hashes = [0], hashes
        self.looks_ahead = [prompt_tokens + most + 1]

    @property
    def longest_draft(self) -> int:
        return self.most

    def add(self, drafted: int, emitted: int, accepted: int, *, last: bool) -> None:
        """Append a round.

        Parameters
        ----------
        drafted : draft tokens of the round.
        emitted : output tokens of the round.
        accepted : draft tokens among them.
        last : whether it is the last round of the request.
        """
        self.emitted.append(emitted)
        self.round_drafted.append(drafted)
        self.tokens.append(self.tokens[-1] + emitted)
        self.drafted.append(self.drafted[-1] + drafted)
        self.accepted.append(self.accepted[-1] + accepted)
        self.rejected.append(self.rejected[-1] + (accepted < drafted))
        self.rates.append(self.accepted[-1] / self.drafted[-1] if self.drafted[-1] else 0.0)
        self.looks_ahead.append(self.looks_ahead[-1] + emitted)
        if last:
            self.rounds = len(self.emitted)

    @property
    def accepted_by_round(self) -> list[int]:
        """Accepted draft tokens of each round."""
        return [after - before for before, after in itertools.pairwise(self.accepted)]


_RECORDED: WeakKeyDictionary[PricedTrace, dict[int, Recorded]] = WeakKeyDictionary()


def recorded_rows(workload: Workload) -> list[Recorded]:
    """Return what each request replays, by index; made once for each row of a priced trace."""
    rows = _RECORDED.setdefault(workload.priced, {})
    for row in set(workload.rows.tolist()).difference(rows):
        rows[row] = Recorded(workload.priced, row)
    return [rows[row] for row in workload.rows.tolist()]


def with_truth(context: PolicyContext, recorded: list[Recorded]) -> PolicyContext:
    """Return the context of a clairvoyant policy, with true sizes and acceptance."""
    return replace(
        context,
        true_prefill_ns=[r.prefill_ns for r in recorded],
        true_remaining_ns=[r.remaining_ns for r in recorded],
        true_tokens_per_round=[r.tokens[-1] / r.rounds for r in recorded],
    )
