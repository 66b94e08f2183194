"""Throughput of speculative decoding by draft length, from a trace and a profile.

Draft lengths other than the recorded one are replayed (`lapsd.traces.derived.replay`); 0 is plain
decoding. At batch size b, b copies of each request decode together, as in a full batch of equal
requests, from its prompt to its last token: contexts grow. Batch sizes and draft lengths for which
the caches of a batch exceed the profile's memory (`Profile.kv_capacity`) are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.traces.costs import RoundCost
from lapsd.traces.derived.replay import at_draft_length
from lapsd.traces.pricing import progress
from lapsd.traces.profile import Profile
from lapsd.traces.trace import Trace

DRAFT_LENGTHS = range(17)
BATCHES = (1, 8, 32)


def speculation_pays(
    trace: Trace,
    profile: Profile,
    *,
    batches: Sequence[int] = BATCHES,
    lengths: Sequence[int] = DRAFT_LENGTHS,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the throughput, one row per batch size and draft length that fit the profile.

    Columns: `batch`, `draft_tokens`, `tokens_per_s` of the whole batch, `low` and `high` (95 %
    interval over requests, by the delta method), `over_plain` (ratio to the throughput at draft
    length 0), `over_plain_low` and `over_plain_high` (its interval, over the same requests),
    `break_even` (acceptance at which the draft length is as fast as plain decoding, by mean round
    costs; above 1: it never is).

    A batch size fits if the profile covers it and its memory, where known, holds the longest
    request that often (`kv_tokens_needed`).

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    profile : Profile
        Costs of rounds, prefill and KV transfers.
    batches : Sequence[int], default BATCHES
        Batch sizes.
    lengths : Sequence[int], default DRAFT_LENGTHS
        Draft lengths, in tokens.
    seed : int, default 0
        Seed of the random numbers, at least 0.

    Raises
    ------
    ValueError
        If the trace cannot be replayed.

    Examples
    --------
    >>> import lapsd
    >>> table = lapsd.speculation_pays(
    ...     lapsd.load_trace("reference"),
    ...     lapsd.load_profile("llama-7b-h200"),
    ...     batches=[1],
    ...     lengths=[0, 4],
    ... )
    >>> table[["draft_tokens", "over_plain"]].round(2)
       draft_tokens  over_plain
    0             0        1.00
    1             4        2.08
    """
    replayed = {
        n: _Rounds.of(at_draft_length(trace, n, np.random.default_rng([seed, n])))
        for n in sorted({0, *lengths})
    }
    rows = [
        row
        for batch in batches
        if batch <= max(profile.costs.rounds) and _fits(trace, profile, batch, 0)
        for row in _rows(
            trace,
            profile.round_cost(batch),
            batch,
            {n: replayed[n] for n in lengths if _fits(trace, profile, batch, n)},
            replayed[0],
        )
    ]
    return pd.DataFrame(rows)


def kv_tokens_needed(trace: Trace, batch: int, drafted: int = 0) -> int:
    """Return the tokens of the caches of `batch` copies of the trace's longest request.

    These are its prompt, its output, and the proposals of a round.
    """
    return batch * (int((trace.prompt_tokens + trace.output_tokens).max()) + drafted)


def largest_batch(trace: Trace, profile: Profile) -> int:
    """Return the largest batch size of plain decoding that fits the profile; 0 if none does."""
    covered, capacity = max(profile.costs.rounds), profile.kv_capacity
    if capacity is None or capacity.tokens is None:
        return covered
    return min(covered, capacity.tokens // kv_tokens_needed(trace, 1))


def _fits(trace: Trace, profile: Profile, batch: int, drafted: int) -> bool:
    capacity = profile.kv_capacity
    if capacity is None or capacity.tokens is None:
        return True
    return kv_tokens_needed(trace, batch, drafted) <= capacity.tokens


class _Rounds(NamedTuple):
    """The rounds of each request, and the sum of the contexts before them, both (R,)."""

    number: NDArray[np.int64]
    contexts: NDArray[np.int64]

    @classmethod
    def of(cls, trace: Trace) -> "_Rounds":
        return cls(trace.rounds, trace.per_request(progress(trace)[1]))

    def ns(self, cost: RoundCost, batch: int, drafted: int) -> NDArray[np.float64]:
        """Return the decoding time of each request in a batch of copies of itself, (R,)."""
        contexts = cost.per_token_ns(drafted) * batch * self.contexts
        return np.asarray(cost.base_ns(drafted) * self.number + contexts, dtype=float)


def _rows(
    trace: Trace, cost: RoundCost, batch: int, replayed: Mapping[int, _Rounds], plain: _Rounds
) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each replayed draft length."""
    context = float(np.mean(trace.prompt_tokens + trace.output_tokens / 2))
    plain_round = cost.base_ns(0) + cost.per_token_ns(0) * batch * context
    plain_ns, tokens = plain.ns(cost, batch, 0), 1e9 * batch * trace.output_tokens.astype(float)
    for n, rounds in replayed.items():
        ns = rounds.ns(cost, batch, n)
        round_ns = cost.base_ns(n) + cost.per_token_ns(n) * batch * context
        rate, half = _ratio(tokens, ns)
        over, over_half = _ratio(plain_ns, ns)
        yield {
            "batch": batch,
            "draft_tokens": n,
            "tokens_per_s": rate,
            "low": rate - half,
            "high": rate + half,
            "over_plain": over,
            "over_plain_low": over - over_half,
            "over_plain_high": over + over_half,
            "break_even": (round_ns / plain_round - 1) / n if n else None,
        }


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ratio of two sums over requests, and half the width of its 95 % interval.

    The interval is from the delta method with Student's t.
    """
    ratio = float(above.sum() / below.sum())
    if len(above) < 2:
        return ratio, float("nan")
    residual = above - ratio * below
    error = residual.std(ddof=1) / np.sqrt(len(above)) / below.mean()
    return ratio, float(error * _quantile(len(above) - 1))


@cache
def _quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t with so many degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))
