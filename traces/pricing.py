"""A trace priced by a profile: the time of each round, prefill and request, in exact integers.

The context of a request at a round is its prompt plus the tokens emitted before the round. Knows
nothing of arrivals or policies.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.bounds import check_ns
from lapsd.traces.profile import Profile
from lapsd.traces.trace import Trace


@dataclass(frozen=True, eq=False)
class PricedTrace:
    """A trace with the cost of each of its rounds.

    Attributes
    ----------
    round_ns : int64 array (rounds of all requests,)
        Cost of each round, parallel to `trace.accepted`.
    emitted : int64 array (rounds of all requests,)
        Tokens that each round emits; the last round is cut at the output length.
    prefill_ns, decode_ns : int64 arrays (R,)
        The prefill of each request, and the sum of its rounds.
    batch : int
        Number of copies of the request in the batch in which its rounds are priced.

    Examples
    --------
    >>> import lapsd
    >>> priced = lapsd.price(lapsd.load_trace("reference"), lapsd.load_profile("reference"))
    >>> int(priced.mean_size_ns) > 0, priced.batch
    (True, 1)
    """

    trace: Trace
    profile: Profile
    round_ns: NDArray[np.int64]
    emitted: NDArray[np.int64]
    prefill_ns: NDArray[np.int64]
    decode_ns: NDArray[np.int64]
    batch: int = 1

    @cached_property
    def size_ns(self) -> NDArray[np.int64]:
        """Prefill and all decoding rounds, (R,)."""
        return self.prefill_ns + self.decode_ns

    @property
    def mean_size_ns(self) -> float:
        """E[S] over the trace: prefill, and the request's share of its rounds."""
        return float((self.prefill_ns + self.decode_ns / self.batch).mean())

    @property
    def median_context(self) -> int:
        """The median over requests of prompt + half the output, rounded down."""
        return int(np.median(self.trace.prompt_tokens + self.trace.output_tokens // 2))

    def mean_round_ns(self) -> int:
        """Return c̄, the cost of a round at the trace's median context, in ns.

        Where draft lengths differ, it is the mean over rounds of the cost at their draft length,
        rounded down.
        """
        return int(max(1, self._rounds_ns(self.batch) // len(self.trace.drafted)))

    def mean_token_ns(self, batch: int) -> int:
        """Return the time between two output tokens of a request in a batch of so many copies, at
        the trace's median context, in ns, rounded down.
        """
        return self._rounds_ns(batch) // int(self.trace.output_tokens.sum())

    def _rounds_ns(self, batch: int) -> int:
        """Return the cost of all rounds in a batch of so many copies at the trace's median
        context.
        """
        cost, context = self.profile.round_cost(batch), batch * self.median_context
        lengths, counts = self.draft_lengths
        return sum(
            c * cost(n, context) for n, c in zip(lengths.tolist(), counts.tolist(), strict=True)
        )

    @cached_property
    def draft_lengths(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The draft lengths of the trace, and the number of rounds of each."""
        lengths, counts = np.unique(self.trace.drafted, return_counts=True)
        return lengths, counts

    def estimated_ns(self, mean_round_ns: int) -> NDArray[np.int64]:
        """Return T̃ of whole requests from their true lengths and acceptance, (R,).

        T̃ = c̄ · r · L // (accepted + r) for a request of r rounds and L output tokens with so many
        accepted draft tokens.
        """
        rounds = self.trace.rounds
        emitted = self.trace.per_request(self.trace.accepted) + rounds
        # the product of all three may exceed 64 bits, so c̄ multiplies whole part and remainder
        whole, rest = np.divmod(rounds * self.trace.output_tokens.astype(np.int64), emitted)
        return np.asarray(mean_round_ns * whole + mean_round_ns * rest // emitted, dtype=np.int64)

    def early_tokens(self) -> NDArray[np.int64]:
        """Return the output tokens of each request's first rounds // 2 rounds, (R,)."""
        emitted, starts = np.append(0, np.cumsum(self.emitted)), self.trace.offsets[:-1]
        return np.asarray(emitted[starts + self.trace.rounds // 2] - emitted[starts])

    def mean_step_ns(self) -> tuple[int, int]:
        """Return the time of a decoding step of a full batch: per token of the requests' contexts,
        and at no context, in ns.

        Where draft lengths differ, both are means over rounds, rounded down.
        """
        cost, rounds = self.profile.round_cost(self.batch), len(self.trace.drafted)
        lengths, counts = self.draft_lengths
        pairs = list(zip(lengths.tolist(), counts.tolist(), strict=True))
        per_token_ns = sum(count * cost.per_token_ns(n) for n, count in pairs)
        base_ns = sum(count * cost.base_ns(n) for n, count in pairs)
        return self.batch * per_token_ns // rounds, base_ns // rounds


def progress(trace: Trace) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens that each round emits and the context before it, each (rounds,)."""
    emitted = trace.accepted + 1
    surplus = trace.per_request(emitted) - trace.output_tokens
    emitted[trace.offsets[1:] - 1] -= surplus
    before = np.cumsum(emitted) - emitted
    before -= np.repeat(before[trace.offsets[:-1]], trace.rounds)
    return emitted, np.repeat(trace.prompt_tokens, trace.rounds) + before


def cost_tables(
    trace: Trace, profile: Profile, batch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ns of a round at no context and per context token, indexed by draft length.

    Raises
    ------
    ValueError
        If as many rounds as output tokens, each at the longest context, exceed `MOST_NS`: a bound
        of the time of a request, whether it is priced or estimated.
    """
    cost, output = profile.round_cost(batch), int(trace.output_tokens.max())
    context = batch * (int(trace.prompt_tokens.max()) + output)
    base, per_token = np.zeros((2, int(trace.drafted.max()) + 1), dtype=np.int64)
    for n in np.unique(trace.drafted).tolist():
        check_ns((output + 1) * cost(n, context), f"{output} rounds at {context} tokens of context")
        base[n], per_token[n] = cost.base_ns(n), cost.per_token_ns(n)
    return base, per_token


def price(trace: Trace, profile: Profile, batch: int = 1) -> PricedTrace:
    """Price every round of a trace, alone or in a batch of copies of its request, in O(rounds).

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    profile : Profile
        Costs of rounds, prefill and KV transfers.
    batch : int, default 1
        Number of requests that run a round together.

    Raises
    ------
    ValueError
        If a time may exceed `MOST_NS`, or the profile does not cover the trace.

    Examples
    --------
    >>> import lapsd
    >>> priced = lapsd.price(
    ...     lapsd.load_trace("reference"), lapsd.load_profile("llama-7b-h200")
    ... )
    >>> bool((priced.size_ns == priced.prefill_ns + priced.decode_ns).all())
    True
    """
    emitted, context = progress(trace)
    base, per_token = cost_tables(trace, profile, batch)
    round_ns = base[trace.drafted] + per_token[trace.drafted] * batch * context
    # the first round verifies the prompt's last token, so a prompt of one token needs no prefill
    to_cache = np.maximum(trace.prompt_tokens - 1, 0)
    lengths, which = np.unique(to_cache, return_inverse=True)
    times = [profile.costs.prefill(tokens) if tokens else 0 for tokens in lengths.tolist()]
    check_ns(max(times), f"a prefill of up to {lengths[-1]} tokens")
    prefill_ns = np.array(times, dtype=np.int64)[which]
    return PricedTrace(
        trace, profile, round_ns, emitted, prefill_ns, trace.per_request(round_ns), batch
    )
