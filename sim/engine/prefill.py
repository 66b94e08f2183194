"""How prompts are prefilled, by name: before the round of a decision, or in steps that others
share.

Where steps are shared, a step holds rounds of those who decode and chunks of prompts, within a
budget of tokens.
"""

from collections.abc import Callable, Mapping, Sequence

from lapsd.policies import NEVER
from lapsd.sim.engine.request import Request
from lapsd.traces import Costs

# Prefills requests that start, from an instant on: notes it on each, and returns the nanoseconds
# until all are done.
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


def in_steps(fresh: Sequence[Request], start_ns: int, costs: Costs) -> int:
    """Nothing before a round: prompts share steps."""
    for request in fresh:
        request.started, request.first_service_ns = True, start_ns
    return 0


PREFILLS: Mapping[str, Prefill] = {
    "alone": alone,
    "batched": batched,
    "mixed": in_steps,
    "chunked": in_steps,
}
"""What is done before a round."""


def share(chosen: Sequence[Request], budget: int | None) -> dict[Request, int]:
    """Tokens that each of those has in the next step; who has none is left out.

    Those who ran the last one come first, in order, as vLLM has it. A request that lacks tokens
    (`uncomputed_tokens`) has as many of them as the budget leaves; any other its whole round, or
    nothing.
    """
    tokens: dict[Request, int] = {}
    left = NEVER if budget is None else budget
    for request in sorted(chosen, key=lambda r: not r.running):
        given = (
            min(request.uncomputed_tokens, left)
            if request.uncomputed_tokens
            else request.next_drafted + 1
        )
        if 0 < given <= left:
            tokens[request] = given
            left -= given
    return tokens
