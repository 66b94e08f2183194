"""Memory for the keys and values of so many tokens, and, if that is limited too, of so many requests."""

from bisect import bisect_right
from collections.abc import Sequence

from sim.engine.memory.base import Limits, Memory
from sim.engine.memory.eviction import Eviction
from sim.engine.recorded import Recorded
from sim.engine.request import Request


class Tokens(Memory):
    """Room for so many tokens: of who waits its prompt and output, of who runs also what its next round may add.

    Parameters
    ----------
    slots : of how many requests; None: of all.
    tokens : how many tokens.
    """

    name = "tokens"
    foresees = True

    def __init__(self, eviction: Eviction, slots: int | None, tokens: int) -> None:
        super().__init__(eviction)
        self.slots = slots
        self.tokens = tokens

    @classmethod
    def of(cls, eviction: Eviction, limits: Limits) -> "Tokens":
        if limits.kv_tokens is None:
            raise ValueError("memory tokens: needs kv_tokens")
        return cls(eviction, limits.kv_slots, limits.kv_tokens)

    def fits(self, running: Sequence[Request], waiting: Sequence[Request] = ()) -> bool:
        held = sum(r.kv_needed for r in running) + sum(r.kv_tokens for r in waiting)
        return held <= self.tokens and (self.slots is None or len(running) + len(waiting) <= self.slots)

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        for index, rounds in enumerate(recorded):
            need = rounds.prompt_tokens + rounds.tokens[-1] + max(rounds.round_drafted) + 1
            if need > self.tokens:
                raise ValueError(
                    f"kv_tokens {self.tokens}: request {index} can never fit: its prompt, output and "
                    f"look-ahead take {need} tokens"
                )

    def lasts(self, running: Sequence[Request], most: int) -> int:
        if most == 1 or any(r.recorded.draft_tokens is None for r in running):
            return 1  # what a round may add goes up and down where draft lengths differ
        free = self.tokens - sum(r.kv_tokens for r in self.holders if not r.running)
        look_ahead = sum(r.prompt_tokens + r.next_drafted + 1 for r in running)
        outputs = [(r.recorded.tokens, r.rounds) for r in running]

        def needed(rounds: int) -> int:
            return look_ahead + sum([tokens[done + rounds] for tokens, done in outputs])

        return max(1, bisect_right(range(most), free, key=needed))
