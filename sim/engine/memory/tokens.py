"""Memory for a number of tokens and, if that is limited too, of requests."""

from collections.abc import Sequence

from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.room import Room
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


class Tokens(Room):
    """Room for the prompt and output tokens of each resident request and, if it runs, for the
    tokens that its next round may add.

    Parameters
    ----------
    slots : int or None
        Number of requests that may be resident; None: no limit.
    tokens : int
        Number of tokens.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory("tokens", swap, lapsd.Capacity(batch=4, kv_tokens=1600))
    >>> type(memory).__name__, memory.limited
    ('Tokens', True)
    """

    name = "tokens"

    def __init__(self, eviction: Eviction, slots: int | None, tokens: int) -> None:
        super().__init__(eviction, tokens)
        self.slots = slots
        self.tokens = tokens

    @classmethod
    def of(cls, eviction: Eviction, limits: Limits) -> "Tokens":
        if limits.kv_tokens is None:
            raise ValueError("memory tokens: needs kv_tokens")
        return cls(eviction, limits.slots, limits.kv_tokens)

    def needs(self, request: Request) -> int:
        return request.kv_needed

    def keeps(self, request: Request) -> int:
        return request.kv_tokens

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        has_slots = self.slots is None or len(running) + len(waiting) <= self.slots
        return has_slots and super().fits(running, waiting)

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        for index, rounds in enumerate(recorded):
            need = rounds.prompt_tokens + rounds.output_tokens + rounds.longest_draft + 1
            if need > self.tokens:
                raise ValueError(
                    f"kv_tokens {self.tokens}: request {index} can never fit: its prompt, output"
                    f" and look-ahead take {need} tokens"
                )
