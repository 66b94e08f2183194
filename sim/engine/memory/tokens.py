"""Memory for the keys and values of so many tokens, and, if that is limited too, of so many
requests.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lapsd.sim.engine.memory.adds_up import AddsUp
from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


class Tokens(AddsUp):
    """Room for so many tokens: of who waits its prompt and output, of who runs also what its next
    round may add.

    Parameters
    ----------
    slots : of how many requests; None: of all.
    tokens : how many tokens.
    """

    name = "tokens"
    predictable = True

    def __init__(self, eviction: Eviction, slots: int | None, tokens: int) -> None:
        super().__init__(eviction)
        self.slots = slots
        self.tokens = tokens

    @classmethod
    def of(cls, eviction: Eviction, limits: Limits) -> "Tokens":
        if limits.kv_tokens is None:
            raise ValueError("memory tokens: needs kv_tokens")
        return cls(eviction, limits.slots, limits.kv_tokens)

    def needs(self, request: Request) -> NDArray[np.int64]:
        return request.recorded.blocks_ahead(1)[request.rounds :]

    def needed(self, running: Sequence[Request]) -> int:
        return sum([r.kv_needed for r in running])

    def room(self, waiting: Iterable[Request] = ()) -> int:
        return self.tokens - sum([r.kv_tokens for r in waiting])

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        return super().fits(running, waiting) and (
            self.slots is None or len(running) + len(waiting) <= self.slots
        )

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        for index, rounds in enumerate(recorded):
            need = rounds.prompt_tokens + rounds.tokens[-1] + max(rounds.round_drafted) + 1
            if need > self.tokens:
                raise ValueError(
                    f"kv_tokens {self.tokens}: request {index} can never fit: its prompt, output"
                    f" and look-ahead take {need} tokens"
                )
