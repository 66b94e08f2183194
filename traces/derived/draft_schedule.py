"""How many tokens rounds draft: always the same, or transformers' heuristic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lapsd.traces.errors import FormatError
from lapsd.traces.trace import Trace

KINDS = ("constant", "heuristic")


@dataclass(frozen=True)
class DraftSchedule:
    """Draft lengths of the rounds of one output.

    `constant:n`, or `heuristic:n` (transformers' first rule): n in the first round, two more after
    a round that accepted all, else one fewer, at least 1.

    Raises
    ------
    ValueError
        For another kind, or n out of range.
    """

    kind: str
    n: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            known = "known are heuristic:n and constant:n (a tree draft has no linear length)"
            raise ValueError(f"draft schedule {self.kind!r}: {known}")
        if not 1 <= self.n <= 1_000:
            raise ValueError(f"draft schedule {self}: n must be an integer from 1 to 1000")

    @classmethod
    def parse(cls, text: str) -> "DraftSchedule":
        """From `heuristic:5` or `constant:4`."""
        kind, _, n = text.partition(":")
        if kind in KINDS and not n.isdecimal():
            raise ValueError(f"draft schedule {text!r}: n must be an integer from 1 to 1000")
        return cls(kind, int(n) if n.isdecimal() else 0)

    @classmethod
    def of(cls, trace: Trace) -> "DraftSchedule":
        """The rule that all draft lengths of `trace` follow.

        Raises
        ------
        FormatError
            If it is neither a constant nor transformers' heuristic.
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
        rules = "a constant, or transformers' heuristic"
        raise FormatError(f"the trace's draft lengths follow no rule known here ({rules})")

    def __str__(self) -> str:
        return f"{self.kind}:{self.n}"

    def drafted(self, accepted: Sequence[int]) -> list[int]:
        """Draft lengths of rounds that accepted `accepted`.

        Raises
        ------
        ValueError
            Naming the first round that accepted more than was drafted.
        """
        n, lengths = self.n, []
        for i, a in enumerate(accepted):
            if a > n:
                raise ValueError(
                    f"round {i} accepted {a} draft tokens where {self} had drafted {n}"
                )
            lengths.append(n)
            if self.kind == "heuristic":
                n = n + 2 if a == n else max(1, n - 1)
        return lengths
