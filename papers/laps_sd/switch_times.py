"""Time of one switch of a request: a swap-out and a swap-in of its KV cache, or a second prefill.

A profile that knows the bytes of a KV cache also gives the time of a swap over other links.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapsd.papers.inputs import Inputs
from lapsd.traces import Profile, Trace, price, trace_from_rounds

PAPER_TOKENS, PAPER_SHARE = 500, 0.14
RECOMPUTE = "recompute"
# 10^9 bytes/s per GPU: PCIe 5.0 x16, PCIe 4.0 x16, two rates that copies over PCIe 4.0 reach, and
# two of slow copies (of many small blocks, or of unpinned memory)
LINK_RATES = (64.0, 32.0, 25.0, 20.0, 8.0, 2.0)


@dataclass(frozen=True)
class Link:
    """The link between each GPU and host memory, over which a KV cache is swapped.

    Attributes
    ----------
    bytes_per_token : bytes of keys and values per token and GPU, in both models
    base_ns : time of a swap-out and a swap-in of no tokens
    rate : 10^9 bytes/s (bytes/ns), the mean of both directions
    """

    bytes_per_token: float
    base_ns: int
    rate: float

    @property
    def rates(self) -> list[float]:
        """The link's own rate, then each of `LINK_RATES` more than 1 % from it."""
        return [self.rate, *(r for r in LINK_RATES if abs(r / self.rate - 1) > 0.01)]

    def switch_ns(self, tokens: int, rate: float) -> float:
        """Return the time of a swap-out and a swap-in of a KV cache at another rate."""
        return self.base_ns + 2 * tokens * self.bytes_per_token / rate

    def rate_for(self, tokens: int, ns: float) -> float:
        """Return the rate at which a swap-out and a swap-in take `ns`; NaN if none does."""
        left = ns - self.base_ns
        return 2 * tokens * self.bytes_per_token / left if left > 0 else float("nan")


def link_of(profile: Profile) -> Link | None:
    """Return the link of a profile; None if it does not know the bytes of a KV cache."""
    out, back = profile.costs.swap_out, profile.costs.swap_in
    both_ns = out.per_token_ns + back.per_token_ns
    if profile.kv_capacity is None or both_ns == 0:
        return None
    gpus = profile.operator_tables.tp if profile.operator_tables else 1
    per_token = profile.kv_capacity.bytes_per_token / gpus
    return Link(per_token, out.base_ns + back.base_ns, 2 * per_token / both_ns)


def named(rate: float) -> str:
    """Return a link rate as the name of a method of switching."""
    return f"{rate:.3g} GB/s"


def typical_requests(trace: Trace, output_tokens: Sequence[int]) -> Trace:
    """Return one request per output length, with the trace's median prompt and mean acceptance.

    Rounds emit whole tokens: the first r rounds emit ⌊r · tokens / rounds⌋ tokens, where tokens and
    rounds are the totals of the trace.
    """
    tokens, rounds = int(trace.output_tokens.sum()), int(trace.rounds.sum())
    drafted, rows = round(float(np.median(trace.drafted))), []
    for length in output_tokens:
        count = -(-length * rounds // tokens)
        emitted = np.diff(np.minimum(np.arange(count + 1) * tokens // rounds, length))
        n = max(drafted, int(emitted.max()) - 1)
        rows.append(
            {
                "request_id": str(length),
                "dataset": "typical",
                "prompt_tokens": median_prompt(trace),
                "output_tokens": length,
                "drafted": [n] * count,
                "accepted": (emitted - 1).tolist(),
            }
        )
    return trace_from_rounds(rows)


def median_prompt(trace: Trace) -> int:
    """Return the trace's median number of prompt tokens, rounded down."""
    return int(np.median(trace.prompt_tokens))


def inference_ns(inputs: Inputs, output_tokens: Sequence[int]) -> NDArray[np.int64]:
    """Return the time of prefill and rounds of `typical_requests`, (N,)."""
    return price(typical_requests(inputs.trace, output_tokens), inputs.profile).size_ns


def switch_ns(inputs: Inputs, output_tokens: int) -> dict[str, float]:
    """Return the time of one switch of a request whose output is complete, by method.

    A swap transfers the whole KV cache out and back: in each way that was measured, or at each link
    rate, the profile's own first. `recompute` runs the prefill again.
    """
    costs, link = inputs.profile.costs, link_of(inputs.profile)
    tokens = median_prompt(inputs.trace) + output_tokens
    by_way: dict[str, float]
    if link is not None:
        by_way = {named(rate): link.switch_ns(tokens, rate) for rate in link.rates}
    else:
        by_way = {w: swap.out(tokens) + swap.back(tokens) for w, swap in costs.swap_ways.items()}
    if not by_way:
        by_way = {"swap": costs.swap_out(tokens) + costs.swap_in(tokens)}
    if recompute := costs.prefill(tokens):
        by_way[RECOMPUTE] = recompute
    return by_way


def paper_scale(inputs: Inputs) -> float:
    """Return the factor on swap times at which one switch takes 14 % of a 500-token request."""
    costs, tokens = inputs.profile.costs, median_prompt(inputs.trace) + PAPER_TOKENS
    once = costs.swap_out(tokens) + costs.swap_in(tokens)
    return float(f"{PAPER_SHARE * int(inference_ns(inputs, [PAPER_TOKENS])[0]) / once:.3g}")
