"""Draft schedules: how many tokens each round drafts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lapsd.traces.errors import FormatError
from lapsd.traces.trace import Trace

KINDS = ("constant", "heuristic")


@dataclass(frozen=True)
class DraftSchedule:
    """Rule for the draft lengths of the rounds of one output.

    `constant:n` drafts n tokens in every round. `heuristic:n` is the first rule of transformers: n
    tokens in the first round, then two more after a round that accepted all draft tokens, and
    otherwise one fewer, but at least 1.

    Raises
    ------
    ValueError
        If the kind is another one, or n is out of range.
    """

    kind: str
    n: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            known = "must be heuristic:n or constant:n (a tree of drafts has no single length)"
            raise ValueError(f"draft schedule {self.kind!r}: {known}")
        if not 1 <= self.n <= 1_000:
            raise ValueError(f"draft schedule {self}: n must be an integer from 1 to 1000")

    @classmethod
    def parse(cls, text: str) -> "DraftSchedule":
        """Return the schedule written as `heuristic:5` or `constant:4`."""
        kind, _, n = text.partition(":")
        if kind in KINDS and not n.isdecimal():
            raise ValueError(f"draft schedule {text!r}: n must be an integer from 1 to 1000")
        return cls(kind, int(n) if n.isdecimal() else 0)

    @classmethod
    def of(cls, trace: Trace) -> "DraftSchedule":
        """Return the schedule that all draft lengths of `trace` follow.

        Raises
        ------
        FormatError
            If they are neither constant nor follow the heuristic.
        """
        lengths = trace.drafted
        if (lengths == lengths[0]).all() and lengths[0] > 0:
            return cls("constant", int(lengths[0]))
        first = lengths[trace.offsets[:-1]]
        within = np.ones(len(lengths), dtype=bool)
        within[trace.offsets[:-1]] = False
        full = np.append(False, trace.accepted[:-1] == lengths[:-1])
        before = np.append(0, lengths[:-1])
        expected = np.where(full, before + 2, np.maximum(1, before - 1))
        if (first == first[0]).all() and (lengths == expected)[within].all():
            return cls("heuristic", int(first[0]))
        raise FormatError(
            "the trace's draft lengths are neither constant nor follow transformers' heuristic"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.n}"

    def drafted(self, accepted: Sequence[int]) -> list[int]:
        """Return the draft lengths of rounds that accepted the given numbers of tokens.

        Raises
        ------
        ValueError
            Naming the first round that accepted more tokens than it drafted.
        """
        n, lengths = self.n, []
        for i, a in enumerate(accepted):
            if a > n:
                raise ValueError(f"round {i} accepted {a} draft tokens, but {self} drafts {n}")
            lengths.append(n)
            if self.kind == "heuristic":
                n = n + 2 if a == n else max(1, n - 1)
        return lengths
