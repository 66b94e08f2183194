"""The rounds of a live request: the simulator's record of a request, extended round by round."""

from lapsd.policies import NEVER
from lapsd.sim.engine.recorded import Recorded


class LiveRounds(Recorded):
    """The rounds of a request so far.

    The final number of rounds is unknown: `rounds` is `NEVER` until the last round is committed.

    Parameters
    ----------
    draft_tokens : draft tokens of each round. `drafted`, `round_drafted` and `looks_ahead`
        already include the next round, because the memory manager reserves its tokens.
    """

    def __init__(self, prompt_tokens: int, draft_tokens: int) -> None:
        self.prompt_tokens, self.draft_tokens = prompt_tokens, draft_tokens
        self.rounds = NEVER
        self.emitted = []
        self.tokens, self.accepted, self.rates = [0], [0], [0.0]
        self.drafted = [0, draft_tokens]
        self.round_drafted = [draft_tokens]
        self.looks_ahead = [prompt_tokens + draft_tokens + 1]

    def add(self, emitted: int, accepted: int, *, last: bool) -> None:
        """Append a round.

        Parameters
        ----------
        emitted : output tokens of the round.
        accepted : draft tokens among them.
        last : whether it is the last round of the request.
        """
        drafted = self.drafted[-1]
        self.emitted.append(emitted)
        self.tokens.append(self.tokens[-1] + emitted)
        self.accepted.append(self.accepted[-1] + accepted)
        self.rates.append(self.accepted[-1] / drafted if drafted else 0.0)
        self.drafted.append(drafted + self.draft_tokens)
        self.round_drafted.append(self.draft_tokens)
        self.looks_ahead.append(self.looks_ahead[-1] + emitted)
        if last:
            self.rounds = len(self.emitted)

    @property
    def accepted_by_round(self) -> list[int]:
        """Draft tokens that became output, by round."""
        return [
            after - before for before, after in zip(self.accepted, self.accepted[1:], strict=False)
        ]
