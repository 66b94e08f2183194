"""Requests as the server keeps them: what policies see of them, what was recorded, and the server's own books."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from traces import PricedTrace, Workload


@dataclass(slots=True, eq=False)
class Request:
    """A request in the server: the `policies.Job` that policies see, and the server's own books."""

    index: int
    arrival_ns: int
    prompt_tokens: int
    predicted_tokens: int
    # the recorded rounds: cost, tokens emitted, and running totals of drafted and accepted with a leading 0
    round_ns: list[int]
    emitted: list[int]
    drafted_sums: list[int]
    accepted_sums: list[int]
    prefill_ns: int

    started: bool = False
    rounds: int = 0
    tokens: int = 0
    service_ns: int = 0
    queue: int = 1
    memo: Any = None

    entered_ns: int = 0
    running: bool = False
    away: bool = False  # started, and its KV cache is not in memory
    prefill_spent_ns: int = 0
    first_service_ns: int = -1
    finish_ns: int = -1
    switch_ns: int = 0
    preemptions: int = 0

    @property
    def drafted(self) -> int:
        return self.drafted_sums[self.rounds]

    @property
    def accepted(self) -> int:
        return self.accepted_sums[self.rounds]

    def acceptance(self, rounds: int) -> float:
        assert 0 <= rounds <= self.rounds, "a policy may look at committed rounds only"
        drafted = self.drafted_sums[rounds]
        return self.accepted_sums[rounds] / drafted if drafted else 0.0

    @property
    def done(self) -> bool:
        return self.rounds == len(self.round_ns)

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values the request holds; also its context."""
        return self.prompt_tokens + self.tokens

    @property
    def next_drafted(self) -> int:
        """Draft tokens of its next round."""
        return self.drafted_sums[self.rounds + 1] - self.drafted_sums[self.rounds]

    @property
    def kv_needed(self) -> int:
        """KV tokens that its next round may fill: what it holds, the drafts and one more."""
        return self.kv_tokens + self.next_drafted + 1


def requests_of(workload: Workload) -> list[Request]:
    """A workload's requests, by index, before any has been served."""
    priced = workload.priced
    recorded = {int(row): _recorded(priced, int(row)) for row in np.unique(workload.rows)}
    return [
        Request(index, int(arrival), int(priced.trace.prompt_tokens[row]), int(predicted), *recorded[int(row)])
        for index, (row, arrival, predicted) in enumerate(
            zip(workload.rows, workload.arrival_ns, workload.predicted_tokens, strict=True)
        )
    ]


def _recorded(priced: PricedTrace, row: int) -> tuple[list[int], list[int], list[int], list[int], int]:
    """A trace row's rounds as plain lists: cost, tokens, running totals of drafted and accepted; its prefill."""
    span = priced.trace.rounds_of(row)
    return (
        priced.round_ns[span].tolist(),
        priced.emitted[span].tolist(),
        [0, *np.cumsum(priced.trace.drafted[span]).tolist()],
        [0, *np.cumsum(priced.trace.accepted[span]).tolist()],
        int(priced.prefill_ns[row]),
    )
