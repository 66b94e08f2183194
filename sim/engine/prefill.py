"""How the prompts of one decision are prefilled, before its round: one function each, by name."""

from collections.abc import Callable, Mapping, Sequence

from sim.engine.request import Request
from traces import Costs

# Prefills requests that start, from an instant on: notes it on each, and returns the nanoseconds until all are done.
Prefill = Callable[[Sequence[Request], int, Costs], int]


def alone(fresh: Sequence[Request], start_ns: int, costs: Costs) -> int:
    """One prompt after the other."""
    at_ns = start_ns
    for request in fresh:
        request.started = True
        request.first_service_ns = at_ns
        request.prefill_ns = request.recorded.prefill_ns
        at_ns += request.prefill_ns
    return at_ns - start_ns


def batched(fresh: Sequence[Request], start_ns: int, costs: Costs) -> int:
    """All prompts in one pass, which each of them spends."""
    # the first round verifies a prompt's last token: what is left to cache may be nothing
    to_cache = [request.prompt_tokens - 1 for request in fresh if request.prompt_tokens > 1]
    spent = costs.prefill.several(to_cache) if to_cache else 0
    for request in fresh:
        request.started = True
        request.first_service_ns = start_ns
        request.prefill_ns = spent
    return spent


PREFILLS: Mapping[str, Prefill] = {"alone": alone, "batched": batched}
