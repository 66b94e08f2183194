"""What rounds, prefills and KV swaps take, in integer nanoseconds.

Coefficients are integers, so every cost is an exact integer function and no sum of costs is ever
rounded. Knows nothing of how costs were measured, nor of requests or policies.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

MAX_NS = 10**15  # eleven days: anything above is a mistake, and sums stay far inside 64 bits


@dataclass(frozen=True)
class Linear:
    """`base_ns + per_token_ns * tokens`."""

    base_ns: int
    per_token_ns: int

    def __call__(self, tokens: int) -> int:
        return self.base_ns + self.per_token_ns * tokens

    def several(self, parts: Sequence[int]) -> int:
        """So many parts in one pass: a batch of prompts."""
        return self(sum(parts))


@dataclass(frozen=True)
class Quadratic(Linear):
    """`base_ns + per_token_ns * tokens`, and `per_square_ps * tokens²` picoseconds, rounded down:
    long prompts.
    """

    per_square_ps: int = 0

    def __call__(self, tokens: int) -> int:
        return super().__call__(tokens) + self.per_square_ps * tokens * tokens // 1_000

    def several(self, parts: Sequence[int]) -> int:
        """Tokens attend to those of their own part alone."""
        return (
            super().__call__(sum(parts)) + self.per_square_ps * sum([p * p for p in parts]) // 1_000
        )


@dataclass(frozen=True)
class RoundTerms:
    """What a round costs at one batch size b, in integer nanoseconds; "tokens" are the batch's
    contexts added up.

    Attributes
    ----------
    draft_step : Linear
        One step of the draft model for the whole batch (T_SSM).
    verify_base_ns : mapping of width to ns One pass of the target over `width` tokens of each
        request (T_LLM; width = drafted + 1) at no context. Linear between measured widths; narrower
        than all: as the narrowest; wider: the last line goes on, never falling.
    verify_per_token_ns : mapping of width to ns
        What a context token adds to that pass, read in the same way.
    host_ns : int
        What a round takes outside the two models.
    """

    draft_step: Linear
    verify_base_ns: Mapping[int, int]
    verify_per_token_ns: Mapping[int, int]
    host_ns: int

    def verify(self, width: int) -> Linear:
        """A verify pass over `width` tokens, by context tokens."""
        return Linear(
            _at_width(self.verify_base_ns, width), _at_width(self.verify_per_token_ns, width)
        )

    def base_ns(self, drafted: int) -> int:
        """A round of `drafted` draft steps, a verify pass and the host's part, at no context."""
        return drafted * self.draft_step.base_ns + self.verify(drafted + 1).base_ns + self.host_ns

    def per_token_ns(self, drafted: int) -> int:
        """What each context token adds to such a round."""
        return drafted * self.draft_step.per_token_ns + self.verify(drafted + 1).per_token_ns


def _at_width(table: Mapping[int, int], width: int) -> int:
    """A table's value: linear between widths, rounded down; the narrowest's below, the last line on
    above.
    """
    known = sorted(table)
    if width <= known[0] or len(known) == 1:
        return table[known[0]]
    right = next((w for w in known if w >= width), known[-1])
    left = known[known.index(right) - 1]
    low, high = table[left], table[right]
    value = low + (high - low) * (width - left) // (right - left)
    return max(value, high) if width > right else value


@dataclass(frozen=True)
class StepTerms:
    """What a step that holds prompts costs with b requests in it, all of them counted, in integer
    nanoseconds.

    Its *tokens* are all that it computes: drafted + 1 of a request that decodes, the chunk of one
    whose prompt is prefilled. Its *contexts* are the tokens that those requests held before it,
    added up.

    Attributes
    ----------
    base_ns : mapping of tokens to ns
        The step at no context, drafting included; read as `RoundTerms.verify_base_ns` is.
    per_context_ns : mapping of tokens to ns
        What each token of contexts adds, read in the same way.
    """

    base_ns: Mapping[int, int]
    per_context_ns: Mapping[int, int]

    def __call__(self, tokens: int, contexts: int) -> int:
        return _at_width(self.base_ns, tokens) + _at_width(self.per_context_ns, tokens) * contexts


@dataclass(frozen=True)
class Swap:
    """One way of moving a request's KV cache (of both models) to host memory (`out`) and back
    (`back`), by tokens.
    """

    out: Linear
    back: Linear


@dataclass(frozen=True)
class Costs:
    """The cost terms, all in integer nanoseconds.

    Attributes
    ----------
    rounds : mapping of batch size to RoundTerms
        At least that of batch size 1.
    prefill : Linear Both models over a prompt, by prompt tokens; also what recomputing a cache of
        as many tokens takes. It may be `Quadratic`.
    swap_out, swap_in : Linear Moving a request's KV cache to host memory and back, by its tokens:
        the way that schedules are charged.
    swap_ways : mapping of name to Swap
        Every way that was measured.
    only_draft_tokens : int or None The only draft length that the rounds hold for, where no other
        was timed and terms could not be told apart.
    steps : mapping of batch size to StepTerms Steps that hold prompts, where they were timed; else
        empty, and such a step is put together of a round and a prefill (`StepCost`).
    """

    rounds: Mapping[int, RoundTerms]
    prefill: Linear
    swap_out: Linear
    swap_in: Linear
    swap_ways: Mapping[str, Swap] = field(default_factory=dict)
    only_draft_tokens: int | None = None
    steps: Mapping[int, StepTerms] = field(default_factory=dict)


class RoundCost:
    """A round's cost at one batch size: a table entry by draft length plus an integer times the sum
    of contexts.

    Between two measured batch sizes costs are linear, rounded down; a size above the largest is not
    covered, nor a draft length other than `only_draft_tokens`, where that is given.
    """

    def __init__(
        self, rounds: Mapping[int, RoundTerms], batch: int = 1, only_draft_tokens: int | None = None
    ) -> None:
        low, high, self._share = _around(rounds, batch)
        self._below, self._above = rounds[low], rounds[high]
        self._only = only_draft_tokens
        self.base_ns = cache(self._base_ns)
        self.per_token_ns = cache(self._per_token_ns)

    def _base_ns(self, drafted: int) -> int:
        """The round at no context."""
        if self._only is not None and drafted != self._only:
            raise ValueError(
                f"draft tokens {drafted}: the profile was fitted to rounds of {self._only} draft"
                " tokens alone, which do not tell what other rounds cost"
            )
        return _between(self._below.base_ns(drafted), self._above.base_ns(drafted), self._share)

    def _per_token_ns(self, drafted: int) -> int:
        """What each context token adds to such a round."""
        return _between(
            self._below.per_token_ns(drafted), self._above.per_token_ns(drafted), self._share
        )

    def __call__(self, drafted: int, context: int) -> int:
        return self.base_ns(drafted) + self.per_token_ns(drafted) * context


class StepCost:
    """The cost of a step that holds prompts beside the rounds of those who decode, by exact
    integers.

    As it was timed (`Costs.steps`), linear between two measured batch sizes and rounded down; where
    it was not, a round of those who decode and a prefill of all the prompts' tokens, one after the
    other.
    """

    def __init__(self, costs: Costs, batch: int) -> None:
        self._prefill = costs.prefill
        self._around = (
            {b: _around(costs.steps, b) for b in range(1, batch + 1)} if costs.steps else {}
        )
        self._steps = costs.steps
        self._rounds = {
            b: RoundCost(costs.rounds, b, costs.only_draft_tokens)
            for b in range(1, batch + 1)
            if not costs.steps
        }

    def __call__(
        self, drafted: Sequence[int], contexts: int, chunks: Sequence[int], held: int
    ) -> int:
        """Nanoseconds of one step.

        Parameters
        ----------
        drafted : draft tokens of each request that decodes.
        contexts : of those requests, added up.
        chunks : tokens of each prompt that the step computes, at least one.
        held : tokens of those prompts computed before, added up.
        """
        if self._steps:
            low, high, share = self._around[len(drafted) + len(chunks)]
            tokens, before = sum(drafted) + len(drafted) + sum(chunks), contexts + held
            return _between(
                self._steps[low](tokens, before), self._steps[high](tokens, before), share
            )
        rounds = self._rounds[len(drafted)](max(drafted), contexts) if drafted else 0
        return rounds + self._prefill.several(chunks)


def _around(measured: Collection[int], batch: int) -> tuple[int, int, tuple[int, int]]:
    """The measured batch sizes around one, and how far from the lower to the higher it lies, as a
    fraction.

    Raises
    ------
    ValueError
        If it lies outside.
    """
    known = sorted(measured)
    if not known[0] <= batch <= known[-1]:
        sizes = ", ".join(map(str, known))
        raise ValueError(
            f"batch size {batch}: the profile covers {known[0]} to {known[-1]} (measured: {sizes})"
        )
    low, high = max(b for b in known if b <= batch), min(b for b in known if b >= batch)
    return low, high, (batch - low, max(1, high - low))


def _between(low: int, high: int, share: tuple[int, int]) -> int:
    """So far on the way from one to the other, rounded down."""
    part, whole = share
    return low + (high - low) * part // whole
