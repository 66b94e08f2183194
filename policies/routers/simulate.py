"""Least predicted latency, as Block routes (Da, Kalyvianaki, "Block: Balancing Load in LLM Serving
with Context, Knowledge and Predictive Scheduling", arXiv 2508.03611).

Each server is simulated forward from its report, with predicted lengths, until this request would
be done there. Block simulates with Vidur; here a request in a batch of m emits a token every T(m)
nanoseconds, whatever its context, and requests start in order of arrival. Not simulated: the part
of the present step that is over, another order of the server, preemption, the limit of KV memory,
prefix caches, prefills that share steps with decoding, and the requests that arrive later.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.routers.base import Router, RouterContext, bound

MOST_NS = 2**62 - 1  # 146 years
MOST_MORE = 10**6


@dataclass(frozen=True)
class Simulate(Router):
    """Send each request to the server with the least predicted latency.

    Parameters
    ----------
    more : int
        Tokens that are expected of a request which is as long as predicted, or longer.

    Notes
    -----
    Use it where output lengths are predicted well, at small batch sizes (docs/results/routing.md).

    References
    ----------
    Da, Kalyvianaki, arXiv 2508.03611.
    """

    name: ClassVar[str] = "simulate"
    more: int = 10
    token_ns: NDArray[np.int64] = bound(None)  # noqa: RUF009 - by server and batch size

    def __post_init__(self) -> None:
        if not 1 <= self.more <= MOST_MORE:
            raise ValueError(f"simulate: more={self.more}: must be between 1 and {MOST_MORE}")

    def bind(self, context: RouterContext) -> Self:
        """See `Router.bind`."""
        return replace(self, token_ns=np.array(context.batch_token_ns, dtype=np.int64))

    def route(self, request: Any, servers: Any, now_ns: int) -> int:
        """See `Router.route`; O(active requests x batch size)."""
        best, best_ns = -1, MOST_NS
        for k in range(servers.count):
            if servers.allowed[k]:
                length = max(1, request.predicted_tokens)
                ns = latency_ns(servers, k, length, self.more, self.token_ns, best_ns)
                if best < 0 or ns < best_ns:
                    best, best_ns = k, ns
        return best


def latency_ns(servers: Any, k: int, length: int, more: int, token_ns: Any, limit_ns: int) -> int:
    """Return the time until a request of so many tokens is done on server k, or `limit_ns` if it is
    not done before.
    """
    ends = np.arange(servers.slots[k])  # of running requests, in tokens from now
    running, next_active, last = 0, servers.begin[k], servers.begin[k + 1]
    for n in range(next_active, last):
        if servers.active_runs[n]:
            ends[running] = tokens_of(servers, n, more)
            running += 1
    emitted, own_end = 0, 0
    ns: int = 0
    while ns < limit_ns:
        while running < servers.slots[k] and own_end == 0:
            while next_active < last and servers.active_runs[next_active]:
                next_active += 1
            if next_active < last:
                ns += servers.active_prefill_ns[next_active]
                ends[running] = emitted + tokens_of(servers, next_active, more)
                next_active += 1
            else:
                ns += servers.prefill_ns[k]
                own_end = emitted + length
                ends[running] = own_end
            running += 1
        first = ends[0]
        for n in range(1, running):
            first = min(first, ends[n])
        ns += (first - emitted) * token_ns[k, running - 1]
        if own_end == first:
            return min(ns, limit_ns)
        emitted, left = first, 0
        for n in range(running):
            if ends[n] > first:
                ends[left] = ends[n]
                left += 1
        running = left
    return limit_ns


def tokens_of(servers: Any, n: int, more: int) -> int:
    """Return the output tokens that are expected of an active request from now on."""
    tokens: int = servers.active_tokens[n]
    return tokens if tokens > 0 else more
