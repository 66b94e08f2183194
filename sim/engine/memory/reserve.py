"""Memory reserved at admission, after ORCA: requests never lack room later, and much of it is never
used.
"""

from collections.abc import Callable, Mapping, Sequence

from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.memory.eviction import Eviction
from lapsd.sim.engine.memory.room import Room
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request

# reserved output, by the true output and the longest possible one
OUTPUTS: Mapping[str, Callable[[int, int], int]] = {
    "max": lambda output, most: most,
    "pow2": lambda output, most: min(most, 1 << (output - 1).bit_length()),
    "oracle": lambda output, most: output,
}


class Reserve(Room):
    """Room for the prompt, the reserved output and one round of each resident request, running or
    not.

    A request that does not run keeps its reservation until it is evicted as a whole because running
    requests lack room; under first come, first served that never happens.

    Parameters
    ----------
    tokens : int
        Number of tokens.
    output : str, default 'max'
        Output that is reserved: `max`, the longest possible one; `pow2`, the true one rounded up to
        a power of two; `oracle`, the true one.
    context : int, default 2048
        Tokens of the longest prompt and output that the model takes.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.sim.engine.memory import EVICTIONS, parse_memory
    >>> swap = EVICTIONS["swap"](lapsd.load_profile("reference").costs)
    >>> memory = parse_memory(
    ...     "reserve:output=pow2", swap, lapsd.Capacity(batch=4, kv_tokens=1600)
    ... )
    >>> type(memory).__name__, memory.limited
    ('Reserve', True)
    """

    name = "reserve"

    def __init__(
        self, eviction: Eviction, tokens: int, output: str = "max", context: int = 2048
    ) -> None:
        super().__init__(eviction, tokens)
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

    def keeps(self, request: Request) -> int:
        return self._reserved_for(request.recorded)

    def _reserved_for(self, rounds: Recorded) -> int:
        """Return the tokens reserved for a request; computed once."""
        room = self._reserved.get(rounds)
        if room is None:
            output = OUTPUTS[self.output](rounds.output_tokens, self.context - rounds.prompt_tokens)
            room = self._reserved[rounds] = rounds.prompt_tokens + output + rounds.longest_draft + 1
        return room

    def refuse(self, recorded: Sequence[Recorded]) -> None:
        for index, rounds in enumerate(recorded):
            if (length := rounds.prompt_tokens + rounds.output_tokens) > self.context:
                raise ValueError(
                    f"memory reserve, context {self.context}: request {index} has {length} tokens"
                )
            if (need := self._reserved_for(rounds)) > self.tokens:
                raise ValueError(
                    f"kv_tokens {self.tokens}: request {index} can never fit: {need} tokens are"
                    " reserved for it"
                )

    def usage(self) -> tuple[int, int]:
        return self._filled(self.resident), sum(map(self.keeps, self.resident))
