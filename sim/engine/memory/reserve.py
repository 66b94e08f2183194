"""Memory reserved whole at admission, after ORCA: nobody ever lacks room later, and much of it is
never used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from lapsd.sim.engine.memory.adds_up import AddsUp
from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request

# the output that room is reserved for, of the true one and the longest that there can be
OUTPUTS: Mapping[str, Callable[[int, int], int]] = {
    "max": lambda output, most: most,
    "pow2": lambda output, most: min(most, 1 << (output - 1).bit_length()),
    "oracle": lambda output, most: output,
}


class Reserve(AddsUp):
    """Room for so many tokens: of each holder, running or not, its prompt, the output reserved for
    it, and a round's.

    A request that does not run keeps its reservation, and is evicted whole when those who run lack
    room; first come, first served that never happens.

    Parameters
    ----------
    tokens : how many there are.
    output : `max`, the longest that there can be; `pow2`, the true one up to a power of two;
        `oracle`, the true one.
    context : tokens of the longest prompt and output that the model takes.
    """

    name = "reserve"
    predictable = True

    def __init__(
        self, eviction: Eviction, tokens: int, output: str = "max", context: int = 2048
    ) -> None:
        super().__init__(eviction)
        self.tokens, self.output, self.context = tokens, output, context
        self._reserved: dict[Recorded, int] = {}

    @classmethod
    def of(
        cls, eviction: Eviction, limits: Limits, *, output: str = "max", context: int = 2048
    ) -> "Reserve":
        if limits.kv_tokens is None:
            raise ValueError("memory reserve: needs kv_tokens")
        if output not in OUTPUTS:
            raise ValueError(f"memory reserve: output {output!r}: must be {' or '.join(OUTPUTS)}")
        if context < 1:
            raise ValueError(f"memory reserve: context {context}: must be at least 1 token")
        return cls(eviction, limits.kv_tokens, output, context)

    def needs(self, request: Request) -> int:
        return self._reserved_for(request.recorded)

    def needed(self, running: Sequence[Request]) -> int:
        return sum([self._reserved_for(r.recorded) for r in running])

    def room(self, waiting: Iterable[Request] = ()) -> int:
        return self.tokens - sum([self._reserved_for(r.recorded) for r in waiting])

    def _reserved_for(self, rounds: Recorded) -> int:
        """Tokens reserved for a request; remembered."""
        room = self._reserved.get(rounds)
        if room is None:
            output = OUTPUTS[self.output](rounds.tokens[-1], self.context - rounds.prompt_tokens)
            room = self._reserved[rounds] = (
                rounds.prompt_tokens + output + max(rounds.round_drafted) + 1
            )
        return room

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        for index, rounds in enumerate(recorded):
            if (length := rounds.prompt_tokens + rounds.tokens[-1]) > self.context:
                raise ValueError(
                    f"memory reserve, context {self.context}: request {index} has {length} tokens"
                )
            if (need := self._reserved_for(rounds)) > self.tokens:
                raise ValueError(
                    f"kv_tokens {self.tokens}: request {index} can never fit: {need} tokens are"
                    " reserved for it"
                )

    def usage(self) -> tuple[int, int]:
        return self._filled(self.resident), sum(
            [self._reserved_for(r.recorded) for r in self.resident]
        )

    def lasts(self, running: Sequence[Request], most: int) -> int:
        return most
