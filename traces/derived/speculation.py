"""Throughput of speculative decoding by draft length, from a trace and a profile.

Draft lengths other than the recorded one are replayed (`lapsd.traces.derived.replay`); 0 is plain
decoding. At batch size b, b copies of each request decode together, as in a full batch of equal
requests.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lapsd.traces.derived.replay import at_draft_length
from lapsd.traces.pricing import price
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
    """Return the throughput, one row per draft length and batch size that the profile covers.

    Columns: `batch`, `draft_tokens`, `tokens_per_s`, `low` and `high` (95 % interval over requests,
    by the delta method), `over_plain` (ratio to the throughput at draft length 0), `break_even`
    (acceptance at which the draft length is as fast as plain decoding, by mean round costs; above
    1: it never is).

    Raises
    ------
    ValueError
        If the trace cannot be replayed.
    """
    rows: list[dict[str, Any]] = []
    replayed = {
        n: at_draft_length(trace, n, np.random.default_rng([seed, n]))
        for n in sorted({0, *lengths})
    }
    context = float(np.mean(trace.prompt_tokens + trace.output_tokens / 2))
    for batch in (b for b in batches if b <= max(profile.costs.rounds)):
        cost = profile.round_cost(batch)
        plain_round = cost.base_ns(0) + cost.per_token_ns(0) * batch * context
        plain, _ = _rate(trace.output_tokens, _decode_ns(replayed[0], profile, batch))
        for n in lengths:
            rate, half = _rate(trace.output_tokens, _decode_ns(replayed[n], profile, batch))
            round_ns = cost.base_ns(n) + cost.per_token_ns(n) * batch * context
            rows.append(
                {
                    "batch": batch,
                    "draft_tokens": n,
                    "tokens_per_s": batch * rate,
                    "low": batch * (rate - half),
                    "high": batch * (rate + half),
                    "over_plain": rate / plain,
                    "break_even": (round_ns / plain_round - 1) / n if n else None,
                }
            )
    return pd.DataFrame(rows)


def _decode_ns(trace: Trace, profile: Profile, batch: int) -> NDArray[np.float64]:
    """Return the decoding time of each request in a batch of copies of itself, (R,)."""
    return price(trace, profile, batch).decode_ns.astype(float)


def _rate(tokens: NDArray[np.int64], ns: NDArray[np.float64]) -> tuple[float, float]:
    """Return tokens per second over all requests, and half the width of its 95 % interval.

    The rate is a ratio of sums; the interval is from the delta method with Student's t.
    """
    from scipy.stats import t

    rate = tokens.sum() / ns.sum()
    if len(tokens) < 2:
        return float(1e9 * rate), float("nan")
    residual = tokens - rate * ns
    error = residual.std(ddof=1) / np.sqrt(len(tokens)) / ns.mean()
    return float(1e9 * rate), float(1e9 * error * t.ppf(0.975, len(tokens) - 1))
