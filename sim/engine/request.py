"""A request in the server: the facts that a policy sees, and what the server keeps of it."""

from dataclasses import dataclass
from typing import Any

from lapsd.sim.engine.recorded import Recorded


@dataclass(slots=True, eq=False)
class Request:
    """A request in the server.

    Attributes
    ----------
    recorded : Recorded
        The rounds that it replays.
    entered_ns : int
        Time at which it entered its queue: at first its arrival.
    started, running, rounds, tokens, service_ns, queue
        As in `policies.Job`.
    seen : SeenJob
        The request as the policy sees it, from its arrival on.
    uncomputed_tokens : int
        Tokens to prefill before its next round can run: of its prompt, where prompts share steps,
        or of a cache that was dropped.
    cached_tokens : int
        Tokens of its prompt that were cached when it started.
    prefill_ns, switch_ns : int
        Time of its prefill, and of the transfers of its KV cache.
    first_service_ns, first_token_ns : int
        Begin of its prefill, and end of its first round; -1: not yet.
    preemptions : int
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
    seen: Any = None

    running: bool = False
    uncomputed_tokens: int = 0
    cached_tokens: int = 0
    prefill_ns: int = 0
    first_service_ns: int = -1
    first_token_ns: int = -1
    switch_ns: int = 0
    preemptions: int = 0

    @property
    def state(self) -> Any:
        """What the policy keeps of it."""
        return self.seen.state

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
        assert 0 <= rounds <= self.rounds, "a policy may read committed rounds only"
        return self.recorded.rates[rounds]

    def acceptances(self, last: int) -> list[float]:
        assert 0 <= last <= self.rounds, "a policy may read committed rounds only"
        return self.recorded.rates[self.rounds - last + 1 : self.rounds + 1]

    def acceptance_range(self, last: int) -> float:
        assert 0 < last <= self.rounds, "a policy may read committed rounds only"
        rates = self.acceptances(last)
        return max(rates) - min(rates)

    @property
    def done(self) -> bool:
        return self.rounds == self.recorded.rounds

    @property
    def kv_tokens(self) -> int:
        """Tokens of its prompt and output so far: its KV cache, and its context."""
        return self.recorded.prompt_tokens + self.tokens

    @property
    def next_drafted(self) -> int:
        """Draft tokens of its next round, which a draft policy has chosen if there is one."""
        return self.recorded.round_drafted[self.rounds]

    @property
    def next_needed(self) -> int:
        """Tokens that its next round may compute: the longest draft that may be chosen, and one."""
        return self.kv_needed - self.kv_tokens

    @property
    def kv_needed(self) -> int:
        """KV tokens that its next round may fill: its context, the drafts and one more."""
        return self.recorded.looks_ahead[self.rounds]
