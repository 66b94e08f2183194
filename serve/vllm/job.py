"""A request that vLLM serves, with the facts that a policy sees.

Knows nothing of vLLM itself.

In vLLM, prefill emits the first token, which belongs to no round. As in traces that are imported
from vLLM, it counts as part of the prompt. So `tokens` excludes the first token, and
`predicted_tokens` is one less than the predicted length of the whole output.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class LiveJob:
    """A request that vLLM serves.

    Attributes
    ----------
    request_id : str
        Its id in the engine.
    index, arrival_ns, prompt_tokens, predicted_tokens, started, rounds, tokens, service_ns,
    drafted, accepted, queue
        As in `lapsd.policies.Job`.
    rejected : int
        Rounds in which a draft token was rejected.
    seen : SeenJob
        The request as the policy sees it, from its arrival on.
    entered_ns : int
        Time of entry into its queue: at first its arrival.
    running : bool
        Whether it runs in the current step.
    rates : list of float
        Accepted over drafted tokens after each number of committed rounds, from 0 on.
    """

    request_id: str
    index: int
    arrival_ns: int
    prompt_tokens: int
    predicted_tokens: int
    entered_ns: int

    started: bool = False
    rounds: int = 0
    tokens: int = 0
    service_ns: int = 0
    drafted: int = 0
    accepted: int = 0
    rejected: int = 0
    queue: int = 1
    seen: Any = None
    running: bool = False
    rates: list[float] = field(default_factory=lambda: [0.0])

    @property
    def state(self) -> Any:
        """What the policy keeps of it."""
        return self.seen.state

    def add_drafts(self, drafted: int, accepted: int) -> None:
        """Count the draft tokens of a round that is about to be committed. O(1)."""
        self.drafted += drafted
        self.accepted += accepted
        self.rejected += accepted < drafted
        self.rates.append(self.accepted / self.drafted if self.drafted else 0.0)

    def acceptance(self, rounds: int) -> float:
        assert 0 <= rounds <= self.rounds, "a policy may only read committed rounds"
        return self.rates[rounds]

    def acceptances(self, last: int) -> list[float]:
        assert 0 <= last <= self.rounds, "a policy may only read committed rounds"
        return self.rates[self.rounds - last + 1 : self.rounds + 1]

    def acceptance_range(self, last: int) -> float:
        assert 0 < last <= self.rounds, "a policy may only read committed rounds"
        window = self.acceptances(last)
        return max(window) - min(window)
