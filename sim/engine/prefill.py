"""Ways to prefill prompts, by name: before the round of a decision, or in steps that share rounds.

A shared step computes rounds of some requests and parts of the prompts of others, within a budget
of tokens.
"""

from collections.abc import Callable, Mapping, Sequence

from lapsd.policies import NEVER
from lapsd.sim.engine.memory import Memory
from lapsd.sim.engine.request import Request
from lapsd.traces import Costs

# Start new requests at a time; the result is the time that their prompts take before the round.
Prefill = Callable[[Sequence[Request], int, Costs], int]


def alone(fresh: Sequence[Request], start_ns: int, costs: Costs) -> int:
    """Prefill one prompt after the other."""
    at_ns = start_ns
    for request in fresh:
        request.started = True
        request.first_service_ns = at_ns
        request.prefill_ns = request.recorded.prefill_ns
        if request.cached_tokens:
            missing = request.prompt_tokens - 1 - request.cached_tokens
            request.prefill_ns = costs.prefill(missing) if missing else 0
        at_ns += request.prefill_ns
    return at_ns - start_ns


def batched(fresh: Sequence[Request], start_ns: int, costs: Costs) -> int:
    """Prefill all prompts in one pass, whose time each of them spends."""
    # the first round verifies a prompt's last token, so a prompt of one token needs no prefill
    missing = [request.prompt_tokens - 1 - request.cached_tokens for request in fresh]
    to_cache = [tokens for tokens in missing if tokens > 0]
    spent = costs.prefill.several(to_cache) if to_cache else 0
    for request in fresh:
        request.started = True
        request.first_service_ns = start_ns
        request.prefill_ns = spent
    return spent


def in_steps(fresh: Sequence[Request], start_ns: int, costs: Costs) -> int:
    """Prefill nothing before the round, because prompts share steps."""
    for request in fresh:
        request.started, request.first_service_ns = True, start_ns
    return 0


PREFILLS: Mapping[str, Prefill] = {
    "alone": alone,
    "batched": batched,
    "mixed": in_steps,
    "chunked": in_steps,
}
"""What is done before a round, by name."""


def share_tokens(
    chosen: Sequence[Request], budget: int | None, memory: Memory
) -> dict[Request, int]:
    """Return the tokens that each chosen request receives in the next step; requests that receive
    none are left out.

    The requests that ran the last step come first, in order, as in vLLM. A request with uncomputed
    tokens receives as many of them as the budget has left; any other request its whole round, or
    nothing. A request finds in memory what requests before it compute in the same step.
    """
    tokens: dict[Request, int] = {}
    left = NEVER if budget is None else budget
    for request in sorted(chosen, key=lambda r: not r.running):
        memory.look_up(request)
        given = (
            min(request.uncomputed_tokens, left)
            if request.uncomputed_tokens
            else request.next_needed
        )
        if 0 < given <= left:
            tokens[request] = given
            left -= given
            if request.uncomputed_tokens:
                memory.schedule(request, given)
    return tokens
