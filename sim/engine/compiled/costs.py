"""Costs in the compiled loop: the same integers as `lapsd.traces.costs` computes."""

from typing import Any

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.drafts import acceptable, ragged_round_ns
from lapsd.sim.engine.compiled.flat_server import (
    ACCEPTED,
    DRAFTED,
    IN_STEPS,
    MOVED_QUANTISED,
    NOT_QUANTISED,
    Server,
)


@compiled
def next_drafted(s: Server, i: int) -> int:
    """Return the draft tokens of a request's next round, from its position in the output."""
    if s.at.choose_drafts:
        return s.jobs[i].next_drafted
    return s.rounds[s.jobs[i].first_round + s.jobs[i].rounds] >> DRAFTED


@compiled
def next_round(s: Server, i: int) -> tuple[int, int, int]:
    """Return the drafted, accepted and emitted tokens of a request's next round."""
    job = s.jobs[i]
    if s.at.choose_drafts:
        drafted, accepted = job.next_drafted, min(job.next_drafted, acceptable(s, i))
    else:
        recorded = s.rounds[job.first_round + job.rounds]
        drafted, accepted = recorded >> DRAFTED, recorded & ACCEPTED
    return drafted, accepted, min(accepted + 1, job.output_tokens - job.tokens)


@compiled
def kv_tokens(s: Server, i: int) -> int:
    """Return the tokens of a request's prompt and output so far, which is its context."""
    return s.jobs[i].prompt_tokens + s.jobs[i].tokens


@compiled
def kv_needed(s: Server, i: int) -> int:
    """Return the KV tokens that a request's next round may fill."""
    return kv_tokens(s, i) + next_needed(s, i)


@compiled
def next_needed(s: Server, i: int) -> int:
    """Return the tokens that a request's next round may compute: the longest draft that may be
    chosen, and one.
    """
    return (s.at.most if s.at.choose_drafts else next_drafted(s, i)) + 1


@compiled
def prefill_ns(s: Server, tokens: int, squares: int) -> int:
    """Return the cost of a prefill of so many tokens; `squares` is the sum of each part squared."""
    if s.at.prefill_in_pieces:
        linear = between(s.prefill_tokens, s.prefill_ns, s.prefill_at, 0, tokens)
    else:
        linear = s.at.prefill_base_ns + s.at.prefill_per_token_ns * tokens
    # the product of both may exceed 64 bits, so squares multiply whole part and remainder
    per_square_ps = s.at.prefill_per_square_ps
    return linear + per_square_ps // 1_000 * squares + per_square_ps % 1_000 * squares // 1_000


@compiled
def recompute_ns(s: Server, tokens: int) -> int:
    """Return the time to compute a dropped cache again, if its last token is not part of it."""
    return prefill_ns(s, tokens, tokens * tokens) if tokens > 0 else 0


@compiled
def out_ns(s: Server, tokens: int) -> int:
    """Return the time of a swap-out."""
    return s.at.out_base_ns + s.at.out_per_token_ns * tokens


@compiled
def in_ns(s: Server, tokens: int) -> int:
    """Return the time of a swap-in."""
    return s.at.in_base_ns + s.at.in_per_token_ns * tokens


@compiled
def transferred(s: Server, tokens: int) -> int:
    """Return for how many tokens a transfer takes time, quantised or not."""
    return tokens if s.at.int8 == NOT_QUANTISED else (tokens + 1) // 2


@compiled
def quantising_ns(s: Server, tokens: int) -> int:
    """Return the time to quantise a cache, or to reverse it."""
    return tokens * s.at.quantise_ns if s.at.int8 >= MOVED_QUANTISED else 0


@compiled
def step_ns(s: Server) -> int:
    """Return the time of the next step: a round of the requests that decode, and parts of
    prompts.
    """
    decoding = most = tokens = contexts = 0
    prompts = prompt_tokens = squares = computed = 0
    for k in range(s.at.running):
        i = s.running[k]
        job = s.jobs[i]
        given = job.given_tokens
        if s.at.prefill == IN_STEPS and given == 0:
            continue
        if job.uncomputed_tokens > 0:
            prompts += 1
            prompt_tokens += given
            squares += given * given
            computed += kv_tokens(s, i) - 1 - job.uncomputed_tokens
        else:
            drafted = next_drafted(s, i)
            decoding += 1
            most = max(most, drafted)
            tokens += drafted + 1
            contexts += kv_tokens(s, i)
    if prompts and s.at.timed_steps:
        row, tokens = 4 * (decoding + prompts), tokens + prompt_tokens
        below = timed_step_ns(s, s.steps.sizes[row], tokens, contexts, computed, most)
        above = timed_step_ns(s, s.steps.sizes[row + 1], tokens, contexts, computed, most)
        return below + (above - below) * s.steps.sizes[row + 2] // s.steps.sizes[row + 3]
    round_ns = 0
    if decoding and s.at.choose_drafts:
        round_ns = ragged_round_ns(s, decoding, tokens, most, contexts)
    elif decoding:
        at = decoding * s.at.draft_lengths + most
        round_ns = s.round_base_ns[at] + s.round_per_token_ns[at] * contexts
    return round_ns + prefill_ns(s, prompt_tokens, squares) if prompts else round_ns


@compiled
def timed_step_ns(
    s: Server, row: int, tokens: int, contexts: int, computed: int, drafted: int
) -> int:
    """Return the time of a step with prompts at a number of requests for which it was timed."""
    steps = s.steps
    base = between(steps.base_tokens, steps.base_ns, steps.base_at, row, tokens)
    per_context = between(steps.context_tokens, steps.per_context_ns, steps.context_at, row, tokens)
    draft = steps.draft_base_ns[row] + steps.draft_per_token_ns[row] * contexts
    return base + per_context * (contexts + computed) + drafted * draft


@compiled
def between(known: Any, values: Any, starts: Any, row: int, tokens: int) -> int:
    """Return a table's value at a number of tokens, as `lapsd.traces.costs` interpolates.

    The table is entries `starts[row]` to `starts[row + 1]` of `known` and `values`.
    """
    first, end = starts[row], starts[row + 1]
    if tokens <= known[first] or end - first == 1:
        return values[first]
    right = first + 1
    while right < end - 1 and known[right] < tokens:
        right += 1
    low, high = values[right - 1], values[right]
    span = known[right] - known[right - 1]
    value = low + (high - low) * (tokens - known[right - 1]) // span
    return max(value, high) if tokens > known[right] else value
