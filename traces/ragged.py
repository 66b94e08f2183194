"""Cost of a round whose requests send different numbers of tokens to the verification.

At one batch size the cost depends on the tokens of all requests together, on the longest draft, and
on the context. Where all requests send the same number it is the cost of `RoundCost`, to the
nanosecond.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.costs import Costs, around_batch

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RaggedRound:
    """Cost of rounds at one batch size.

    Attributes
    ----------
    verify_base, verify_per_token : int64 (most tokens + 1,)
        Cost of the host and of a pass of the target by the number of tokens: without context, and
        per token of the contexts, in nanoseconds times `divisor`.
    draft_base, draft_per_token : int
        The same for a step of the draft model.
    divisor : int

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import ragged_round
    >>> cost = ragged_round(lapsd.load_profile("reference").costs, batch=2, most=4)
    >>> (
    ...     len(cost.verify_base) - 1
    ... )  # the most tokens that 2 requests send: 4 drafts and one more each
    10
    """

    verify_base: Ints
    verify_per_token: Ints
    draft_base: int
    draft_per_token: int
    divisor: int

    def __call__(self, tokens: int, longest: int, context: int) -> int:
        """Return the time of a round in nanoseconds.

        Parameters
        ----------
        tokens : int
            Tokens that the requests send to the verification together.
        longest : int
            Length of the longest draft.
        context : int
            Sum of the contexts of the requests, in tokens.
        """
        base = (int(self.verify_base[tokens]) + longest * self.draft_base) // self.divisor
        per_token = int(self.verify_per_token[tokens]) + longest * self.draft_per_token
        return base + per_token // self.divisor * context

    def most_ns(self, longest: int, context: int) -> int:
        """Return a bound of the time of a round with drafts of at most `longest` tokens."""
        base = int(self.verify_base.max()) + longest * self.draft_base
        per_token = int(self.verify_per_token.max()) + longest * self.draft_per_token
        return base // self.divisor + per_token // self.divisor * context


def ragged_round(
    costs: Costs, batch: int, most: int, graph_sizes: Sequence[int] = ()
) -> RaggedRound:
    """Return the cost of rounds of `batch` requests, each with at most `most` draft tokens.

    Parameters
    ----------
    costs : Costs
        Cost terms of the profile.
    batch : int
        Number of requests that run a round together.
    most : int
        Longest draft, in tokens.
    graph_sizes : int, ascending
        Numbers of tokens for which the engine captured a graph: a verification takes the time of
        the next such number, or its own time beyond the last.

    Raises
    ------
    ValueError
        If the profile covers one draft length only, or no draft as long as `most`, does not cover
        the batch size, or a cost could exceed 64 bits.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import ragged_round
    >>> cost = ragged_round(lapsd.load_profile("reference").costs, batch=4, most=4)
    >>> cost.most_ns(4, 1000) > 0
    True
    """
    if costs.only_draft_tokens is not None:
        raise ValueError(
            f"the profile covers rounds of {costs.only_draft_tokens} draft tokens only: a draft"
            " policy needs a profile with several widths of verification"
        )
    low, high, (part, whole) = around_batch(costs.rounds, batch)
    for widths in (costs.rounds[size].verify_base_ns for size in (low, high)):
        if len(widths) > 1 and max(widths) < most + 1:
            raise ValueError(
                f"drafts of {most} tokens: the profile prices verifications of up to"
                f" {max(widths)} tokens per request, so drafts of up to {max(widths) - 1}"
            )
    sent = np.arange(batch * (most + 1) + 1)
    if len(graph_sizes):
        sizes = np.array(graph_sizes)
        place = np.searchsorted(sizes, sent)
        sent = np.where(place < len(sizes), sizes[np.minimum(place, len(sizes) - 1)], sent)

    def mixed(below: Any, above: Any) -> Any:
        return below * (whole - part) + above * part

    ends = costs.rounds[low], costs.rounds[high]
    base = mixed(*[_at_tokens(t.verify_base_ns, sent, batch) + t.host_ns for t in ends])
    per_token = mixed(*[_at_tokens(t.verify_per_token_ns, sent, batch) for t in ends])
    draft_base = mixed(*[t.draft_step.base_ns for t in ends])
    draft_per_token = mixed(*[t.draft_step.per_token_ns for t in ends])
    most_ns = max([*base.tolist(), *per_token.tolist()]) + most * draft_base
    if most_ns >= 2**62:
        raise ValueError(f"a round may take {most_ns / whole:.2g} ns: more than 64 bits can hold")
    return RaggedRound(
        np.array(base, dtype=np.int64),
        np.array(per_token, dtype=np.int64),
        draft_base,
        draft_per_token,
        whole,
    )


def _at_tokens(table: Mapping[int, int], tokens: Ints, batch: int) -> NDArray[np.object_]:
    """Return a table's values at widths of tokens / batch, interpolated like `RoundTerms`.

    Exact integers of any size.
    """
    known = sorted(table)
    widths = np.array(known, dtype=object) * batch
    values = np.array([table[w] for w in known], dtype=object)
    exact = tokens.astype(object)
    if len(known) == 1:
        return np.full(len(tokens), values[0], dtype=object)
    right = np.clip(np.searchsorted(widths.astype(np.int64), tokens), 1, len(known) - 1)
    low, high = values[right - 1], values[right]
    found = low + (high - low) * (exact - widths[right - 1]) // (widths[right] - widths[right - 1])
    found = np.where(tokens > widths[-1], np.maximum(found, high), found)
    return np.asarray(np.where(tokens <= widths[0], values[0], found))
