"""A trace priced by a profile: what each round, prefill and request takes, in exact integers.

Where a request's rounds meet the machine's costs. A request's context at a round is its prompt plus
the tokens emitted before it. Knows nothing of arrivals or policies.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.profile import Profile
from lapsd.traces.trace import Trace


class TimeTerms(NamedTuple):
    """What `policies.TimeModel` is made of, in its order: T_0, α and β in ns, and rounds that emit
    so many tokens.
    """

    prefill_ns_a_token: int
    step_ns_a_token: int
    step_ns: int
    rounds: int
    tokens: int


@dataclass(frozen=True, eq=False)
class PricedTrace:
    """A trace with the cost of each of its rounds.

    Attributes
    ----------
    round_ns : int64 array (rounds of all requests,)
        Cost of each round, parallel to `trace.accepted`.
    emitted : int64 array (rounds of all requests,)
        Tokens each round emits; the last round's are cut at the output length.
    prefill_ns, decode_ns : int64 arrays (R,)
        A request's prefill, and the sum of its rounds.
    batch : int
        Rounds are priced in a batch of so many copies of the request.
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
        """E[S] over the trace: prefill, and a request's share of its rounds."""
        return float((self.prefill_ns + self.decode_ns / self.batch).mean())

    @property
    def median_context(self) -> int:
        """The median over requests of prompt + half the output, rounded down."""
        return int(np.median(self.trace.prompt_tokens + self.trace.output_tokens // 2))

    def mean_round_ns(self) -> int:
        """c̄: a round's cost at this trace's median context (prompt + half the output, rounded
        down), in ns.

        Where draft lengths differ, the mean over its rounds of what each draft length costs there,
        rounded down.
        """
        context = self.median_context
        cost = self.profile.round_cost(self.batch)
        lengths, counts = np.unique(self.trace.drafted, return_counts=True)
        total = sum(
            c * cost(n, self.batch * context)
            for n, c in zip(lengths.tolist(), counts.tolist(), strict=True)
        )
        return int(max(1, total // len(self.trace.drafted)))

    def estimated_ns(self, mean_round_ns: int) -> NDArray[np.int64]:
        """T̃ of whole requests by their true lengths and acceptance, rounded down: c̄ · r · L //
        (accepted + r), (R,).

        r is a request's rounds, `accepted` its accepted draft tokens.
        """
        rounds = self.trace.rounds
        emitted = self.trace.per_request(self.trace.accepted) + rounds
        # c̄ taken out of the fraction's whole part: the product of all three need not fit 64 bits
        whole, rest = np.divmod(rounds * self.trace.output_tokens.astype(np.int64), emitted)
        return np.asarray(mean_round_ns * whole + mean_round_ns * rest // emitted, dtype=np.int64)

    def early_tokens(self) -> NDArray[np.int64]:
        """Output tokens of the first half of each request's rounds, rounded down, (R,)."""
        emitted, starts = np.append(0, np.cumsum(self.emitted)), self.trace.offsets[:-1]
        return np.asarray(emitted[starts + self.trace.rounds // 2] - emitted[starts])

    def time_terms(self) -> TimeTerms:
        """ALISE's time model, fitted to these requests in batches of their `batch`.

        T_0 is the least-squares slope of prefills through the origin. α and β are what a step of a
        full batch takes by its requests' contexts, exactly; where draft lengths differ, the means
        over rounds, rounded down.
        """
        trace, cost = self.trace, self.profile.round_cost(self.batch)
        prompts = trace.prompt_tokens.astype(float)
        lengths, counts = np.unique(trace.drafted, return_counts=True)
        rounds, tokens = len(trace.drafted), int(trace.output_tokens.sum())
        pairs = list(zip(lengths.tolist(), counts.tolist(), strict=True))
        shared = math.gcd(rounds, tokens)
        return TimeTerms(
            prefill_ns_a_token=round(
                float((prompts @ self.prefill_ns) / max(1.0, prompts @ prompts))
            ),
            step_ns_a_token=self.batch
            * sum(count * cost.per_token_ns(n) for n, count in pairs)
            // rounds,
            step_ns=sum(count * cost.base_ns(n) for n, count in pairs) // rounds,
            rounds=rounds // shared,
            tokens=tokens // shared,
        )


def progress(trace: Trace) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens that each round emits, and its request's context before it, each (rounds of all
    requests,).
    """
    emitted = trace.accepted + 1
    surplus = trace.per_request(emitted) - trace.output_tokens
    emitted[trace.offsets[1:] - 1] -= surplus
    before = np.cumsum(emitted) - emitted
    before -= np.repeat(before[trace.offsets[:-1]], trace.rounds)
    return emitted, np.repeat(trace.prompt_tokens, trace.rounds) + before


def cost_tables(
    trace: Trace, profile: Profile, batch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A round's ns at no context and by context token, indexed by the trace's draft lengths."""
    cost = profile.round_cost(batch)
    base, per_token = np.zeros((2, int(trace.drafted.max()) + 1), dtype=np.int64)
    for n in np.unique(trace.drafted).tolist():
        base[n], per_token[n] = cost.base_ns(n), cost.per_token_ns(n)
    return base, per_token


def price(trace: Trace, profile: Profile, batch: int = 1) -> PricedTrace:
    """Price every round of `trace`, run alone or in a batch of copies of its request. O(rounds)."""
    emitted, context = progress(trace)
    base, per_token = cost_tables(trace, profile, batch)
    round_ns = base[trace.drafted] + per_token[trace.drafted] * batch * context
    # the first round verifies the prompt's last token: what is left to cache may be nothing
    to_cache = np.maximum(trace.prompt_tokens - 1, 0)
    prefill: Callable[[NDArray[np.int64]], NDArray[np.int64]] = profile.costs.prefill  # type: ignore[assignment]
    prefill_ns = np.where(to_cache > 0, prefill(to_cache), 0)
    return PricedTrace(
        trace, profile, round_ns, emitted, prefill_ns, trace.per_request(round_ns), batch
    )
