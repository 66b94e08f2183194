"""Cost of rounds, prefills and KV swaps, in integer nanoseconds.

Coefficients are integers, so every cost is an exact integer function and no sum of costs is ever
rounded. This module knows nothing of how costs were measured, nor of requests or policies.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from numbers import Integral
from typing import Protocol, Self

MAX_NS = 10**15  # eleven days: a larger value is a mistake, and sums stay far below 64 bits


class PromptCost(Protocol):
    """Cost of prompts: one alone, or several in one pass, by their tokens."""

    def __call__(self, tokens: int) -> int: ...

    def several(self, parts: Sequence[int]) -> int:
        """Return the cost of several parts in one pass, such as a batch of prompts."""
        ...

    def scaled(self, factor: float) -> Self:
        """Return the cost times a factor, each coefficient rounded."""
        ...

    def plus(self, ns: int) -> Self:
        """Return the cost with `ns` more for each pass."""
        ...


@dataclass(frozen=True)
class Linear:
    """`base_ns + per_token_ns * tokens`.

    Examples
    --------
    >>> from lapsd.traces import Linear
    >>> Linear(base_ns=1000, per_token_ns=5)(100)
    1500
    """

    base_ns: int
    per_token_ns: int

    def __call__(self, tokens: int) -> int:
        return self.base_ns + self.per_token_ns * tokens

    def several(self, parts: Sequence[int]) -> int:
        """See `PromptCost.several`."""
        return self(sum(parts))

    def scaled(self, factor: float) -> Self:
        """See `PromptCost.scaled`."""
        base_ns, per_token_ns = round(factor * self.base_ns), round(factor * self.per_token_ns)
        return replace(self, base_ns=base_ns, per_token_ns=per_token_ns)

    def plus(self, ns: int) -> Self:
        """See `PromptCost.plus`."""
        return replace(self, base_ns=self.base_ns + ns)


@dataclass(frozen=True)
class Quadratic(Linear):
    """`base_ns + per_token_ns * tokens + per_square_ps * tokens² / 1000`, rounded down.

    The quadratic term, in picoseconds, matters for long prompts.
    """

    per_square_ps: int = 0

    def __call__(self, tokens: int) -> int:
        return super().__call__(tokens) + self.per_square_ps * tokens * tokens // 1_000

    def several(self, parts: Sequence[int]) -> int:
        """See `PromptCost.several`; each token attends only to its own part."""
        return (
            super().__call__(sum(parts)) + self.per_square_ps * sum([p * p for p in parts]) // 1_000
        )

    def scaled(self, factor: float) -> Self:
        """See `PromptCost.scaled`."""
        return replace(super().scaled(factor), per_square_ps=round(factor * self.per_square_ps))


@dataclass(frozen=True)
class Piecewise:
    """Cost of a pass that is linear between measured numbers of tokens, plus a quadratic term.

    Attributes
    ----------
    base_ns : mapping of tokens to ns
        Cost without the quadratic term; interpolated like `RoundTerms.verify_base_ns`.
    per_square_ps : int
        Picoseconds per squared number of tokens of each prompt: attention in long prompts.
    """

    base_ns: Mapping[int, int]
    per_square_ps: int = 0

    def __call__(self, tokens: int) -> int:
        return self.several((tokens,))

    def several(self, parts: Sequence[int]) -> int:
        """See `PromptCost.several`; each token attends only to its own part."""
        squares = sum([p * p for p in parts])
        return at_width(self.base_ns, sum(parts)) + self.per_square_ps * squares // 1_000

    def scaled(self, factor: float) -> Self:
        """See `PromptCost.scaled`."""
        return replace(
            self,
            base_ns=_scaled(self.base_ns, factor),
            per_square_ps=round(factor * self.per_square_ps),
        )

    def plus(self, ns: int) -> Self:
        """See `PromptCost.plus`."""
        return replace(self, base_ns={tokens: base + ns for tokens, base in self.base_ns.items()})


@dataclass(frozen=True)
class RoundTerms:
    """Cost terms of a round at one batch size, in integer nanoseconds.

    A context is the sum of the contexts of all requests in the batch, in tokens.

    Attributes
    ----------
    draft_step : Linear
        One step of the draft model for the whole batch (T_SSM), by context.
    verify_base_ns : mapping of width to ns
        One pass of the target over `width` tokens of each request (T_LLM; width = drafted + 1)
        without context. Costs are linear between measured widths. Below the narrowest width, its
        cost applies; above the widest, the last line continues, but never falls.
    verify_per_token_ns : mapping of width to ns
        Cost that each context token adds to that pass, interpolated in the same way.
    host_ns : int
        Time of a round outside the two models.

    Examples
    --------
    >>> from lapsd.traces import Linear, RoundTerms
    >>> terms = RoundTerms(
    ...     Linear(1000, 0),
    ...     verify_base_ns={1: 20_000},
    ...     verify_per_token_ns={1: 2},
    ...     host_ns=500,
    ... )
    >>> terms.base_ns(4)  # 4 draft steps, a verification and the host
    24500
    """

    draft_step: Linear
    verify_base_ns: Mapping[int, int]
    verify_per_token_ns: Mapping[int, int]
    host_ns: int

    def verify(self, width: int) -> Linear:
        """Return the cost of a verify pass over `width` tokens, by context."""
        return Linear(
            at_width(self.verify_base_ns, width), at_width(self.verify_per_token_ns, width)
        )

    def base_ns(self, drafted: int) -> int:
        """Return the cost without context of `drafted` draft steps, a verify pass and the host."""
        return drafted * self.draft_step.base_ns + self.verify(drafted + 1).base_ns + self.host_ns

    def per_token_ns(self, drafted: int) -> int:
        """Return the cost that each context token adds to such a round."""
        return drafted * self.draft_step.per_token_ns + self.verify(drafted + 1).per_token_ns

    def scaled(self, factor: float) -> "RoundTerms":
        """Return the terms times a factor, each coefficient rounded."""
        return RoundTerms(
            self.draft_step.scaled(factor),
            _scaled(self.verify_base_ns, factor),
            _scaled(self.verify_per_token_ns, factor),
            round(factor * self.host_ns),
        )


def _scaled(table: Mapping[int, int], factor: float) -> dict[int, int]:
    return {key: round(factor * ns) for key, ns in table.items()}


def at_width(table: Mapping[int, int], width: int) -> int:
    """Return a table's value at a width, linear between measured widths and rounded down.

    Below the narrowest width, its value applies; above the widest, the last line continues, but
    never falls.
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
    """Cost terms of a step that prefills prompts, at one batch size, in integer nanoseconds.

    The batch size counts decoding requests and prompts. The step's *tokens* are all tokens that it
    computes: drafted + 1 for each decoding request, and one chunk for each prompt. Its *contexts*
    are the tokens that these requests held before the step, summed.

    Attributes
    ----------
    base_ns : mapping of tokens to ns
        The step without context; interpolated like `RoundTerms.verify_base_ns`.
    per_context_ns : mapping of tokens to ns
        Cost that each context token adds, interpolated in the same way.
    draft_step : Linear
        One step of the draft model for the decoding requests, by their contexts; 0 where `base_ns`
        includes drafting.

    Examples
    --------
    >>> from lapsd.traces import StepTerms
    >>> terms = StepTerms(base_ns={1: 1000, 100: 9000}, per_context_ns={1: 2})
    >>> terms.scaled(2.0).base_ns[100]
    18000
    """

    base_ns: Mapping[int, int]
    per_context_ns: Mapping[int, int]
    draft_step: Linear = Linear(0, 0)

    def __call__(self, tokens: int, contexts: int) -> int:
        return at_width(self.base_ns, tokens) + at_width(self.per_context_ns, tokens) * contexts

    def scaled(self, factor: float) -> "StepTerms":
        """Return the terms times a factor, each coefficient rounded."""
        return StepTerms(
            _scaled(self.base_ns, factor),
            _scaled(self.per_context_ns, factor),
            self.draft_step.scaled(factor),
        )


@dataclass(frozen=True)
class Swap:
    """One way to transfer a request's KV cache (of both models), by its tokens.

    `out` is the transfer to host memory, `back` the transfer back to the device.

    Examples
    --------
    >>> from lapsd.traces import Linear, Swap
    >>> swap = Swap(out=Linear(1000, 10), back=Linear(1000, 12))
    >>> swap.out(100) + swap.back(100)
    4200
    """

    out: Linear
    back: Linear


@dataclass(frozen=True)
class Costs:
    """The cost terms, all in integer nanoseconds.

    Attributes
    ----------
    rounds : mapping of batch size to RoundTerms
        Includes batch size 1.
    prefill : Linear, Quadratic or Piecewise
        Both models over a prompt, by prompt tokens; also the cost to recompute a cache of as many
        tokens.
    swap_out, swap_in : Linear
        Transfer of a request's KV cache to host memory and back, by its tokens: the cost that
        schedules are charged.
    swap_ways : mapping of name to Swap
        All ways that were measured.
    only_draft_tokens : int or None
        The only draft length that `rounds` covers, where only one length was timed, so that the
        cost of a draft step is not known separately.
    steps : mapping of batch size to StepTerms
        Steps that prefill prompts, if they were timed. If empty, the cost of such a step is the sum
        of a round and a prefill (`StepCost`).

    Examples
    --------
    >>> import lapsd
    >>> costs = lapsd.load_profile("reference").costs
    >>> 1 in costs.rounds
    True
    >>> costs.with_host(1000).rounds[1].host_ns - costs.rounds[1].host_ns
    1000
    """

    rounds: Mapping[int, RoundTerms]
    prefill: PromptCost
    swap_out: Linear
    swap_in: Linear
    swap_ways: Mapping[str, Swap] = field(default_factory=dict)
    only_draft_tokens: int | None = None
    steps: Mapping[int, StepTerms] = field(default_factory=dict)

    def with_host(self, ns: int) -> "Costs":
        """Return the costs with `ns` more in each pass: a round, a prefill, or a step with prompts.

        Used for the time of an engine outside the models, such as launches and sampling.
        """
        return replace(
            self,
            rounds={b: replace(t, host_ns=t.host_ns + ns) for b, t in self.rounds.items()},
            prefill=self.prefill.plus(ns),
            steps={
                b: replace(t, base_ns={tokens: base + ns for tokens, base in t.base_ns.items()})
                for b, t in self.steps.items()
            },
        )


class RoundCost:
    """Cost of a round at one batch size, by draft length and context.

    The context is the sum of the contexts of all requests in the batch, in tokens. Between two
    measured batch sizes costs are linear, rounded down. A batch size above the largest measured one
    is not covered, nor is a draft length other than `only_draft_tokens`, if that is set.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import RoundCost
    >>> costs = lapsd.Profile.constant(draft_ms=1.0, verify_ms=20.0, swap_ms=5.0).costs
    >>> RoundCost(costs.rounds)(4, 100)
    24000000
    """

    def __init__(
        self, rounds: Mapping[int, RoundTerms], batch: int = 1, only_draft_tokens: int | None = None
    ) -> None:
        low, high, self._share = around_batch(rounds, batch)
        self._below, self._above = rounds[low], rounds[high]
        self._only = only_draft_tokens
        self.base_ns = cache(self._base_ns)
        self.per_token_ns = cache(self._per_token_ns)

    def _base_ns(self, drafted: int) -> int:
        """Return the cost of the round without context."""
        if self._only == 0 and drafted:
            raise ValueError(
                f"draft tokens {drafted}: the profile prices decoding without drafts only; it needs"
                " a trace without drafts (lapsd generate --acceptance none), or --draft-tokens 0"
            )
        if self._only is not None and drafted != self._only:
            raise ValueError(
                f"draft tokens {drafted}: the profile was fitted to rounds of {self._only} draft"
                " tokens only and covers no other draft length"
            )
        return _between(self._below.base_ns(drafted), self._above.base_ns(drafted), self._share)

    def _per_token_ns(self, drafted: int) -> int:
        """Return the cost that each context token adds to the round."""
        return _between(
            self._below.per_token_ns(drafted), self._above.per_token_ns(drafted), self._share
        )

    def __call__(self, drafted: int, context: int) -> int:
        return self.base_ns(drafted) + self.per_token_ns(drafted) * context


class StepCost:
    """Cost of a step that prefills prompts and runs a round of the decoding requests.

    If such steps were timed (`Costs.steps`), costs are linear between two measured batch sizes and
    rounded down. Otherwise the step costs a round of the decoding requests and then a prefill of
    the tokens of all prompts.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import StepCost
    >>> cost = StepCost(
    ...     lapsd.Profile.constant(draft_ms=1.0, verify_ms=20.0, swap_ms=5.0).costs, batch=1
    ... )
    >>> cost([], 0, [50], 0)  # only a prompt, of which 50 tokens are computed
    0
    """

    def __init__(self, costs: Costs, batch: int) -> None:
        self._prefill = costs.prefill
        self._around = (
            {b: around_batch(costs.steps, b) for b in range(1, batch + 1)} if costs.steps else {}
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
        """Return the time of one step in nanoseconds.

        Parameters
        ----------
        drafted : Sequence[int]
            Draft tokens of each decoding request.
        contexts : int
            Sum of the contexts of the decoding requests, in tokens.
        chunks : Sequence[int]
            Tokens that the step computes of each prompt, for at least one prompt.
        held : int
            Sum of the tokens of these prompts that were computed before.
        """
        if self._steps:
            low, high, share = self._around[len(drafted) + len(chunks)]
            tokens, before = sum(drafted) + len(drafted) + sum(chunks), contexts + held
            steps = max(drafted, default=0)
            ends = [
                terms(tokens, before) + steps * terms.draft_step(contexts)
                for terms in (self._steps[low], self._steps[high])
            ]
            return _between(ends[0], ends[1], share)
        rounds = self._rounds[len(drafted)](max(drafted), contexts) if drafted else 0
        return rounds + self._prefill.several(chunks)


def around_batch(measured: Collection[int], batch: int) -> tuple[int, int, tuple[int, int]]:
    """Return the measured batch sizes below and above `batch`, and its place between them.

    The place is a fraction (numerator, denominator) of the way from the lower to the higher.

    Raises
    ------
    ValueError
        If `batch` is no whole number, or lies outside the measured sizes.
    """
    if not isinstance(batch, Integral):
        raise ValueError(f"batch size {batch!r}: must be a whole number")
    known = sorted(measured)
    if not known[0] <= batch <= known[-1]:
        sizes = ", ".join(map(str, known))
        raise ValueError(
            f"batch size {batch}: the profile covers {known[0]} to {known[-1]} (measured: {sizes})"
        )
    low, high = max(b for b in known if b <= batch), min(b for b in known if b >= batch)
    return low, high, (batch - low, max(1, high - low))


def _between(low: int, high: int, share: tuple[int, int]) -> int:
    """Return the value at a fraction of the way from `low` to `high`, rounded down."""
    part, whole = share
    return low + (high - low) * part // whole
