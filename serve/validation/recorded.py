"""A live run as a trace: drafted and accepted tokens of its requests, in the order of the plan.

If a draft policy chose the draft lengths, the trace also holds `accept_prob`.
"""

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record, RequestResult
from lapsd.traces import Trace, trace_from_rounds
from lapsd.traces.provenance import Provenance


def trace_of(plan: Plan, record: Record) -> Trace:
    """Return a trace with one row per request of the plan, in its order.

    A request that ended with the token that its prefill emitted has one round.

    Raises
    ------
    ValueError
        If the run was interrupted, so that not all requests finished.
    """
    results = record.by_index
    by_position = any(result.accept_prob for result in results.values())
    if len(results) < len(plan.requests):
        raise ValueError(
            f"a run of {len(plan.requests)} requests was interrupted after {len(results)}"
        )
    # in vLLM, prefill emits a token, which counts as part of the prompt
    first_token = 1 if record.engine == "vllm" else 0
    rows = [
        {
            "request_id": request.request_id,
            "dataset": request.dataset,
            "prompt_tokens": len(request.prompt) + first_token,
            "output_tokens": len(results[i].tokens),
            "accepted": results[i].accepted,
            "drafted": results[i].drafted
            if any(results[i].drafted) or not first_token
            else [plan.draft_tokens] * len(results[i].drafted),
            **({"accept_prob": _as_tested(results[i])} if by_position else {}),
        }
        for i, request in enumerate(plan.requests)
    ]
    return trace_from_rounds(
        rows, Provenance(source=f"a live run of {record.engine} under {record.policy}")
    )


def recorded_before(plan: Plan, trace: Trace) -> Trace:
    """Return the rows of a trace that a plan's requests were recorded in, in the plan's order."""
    keys = zip(trace.dataset, trace.request_id, strict=True)
    rows = {key: i for i, key in enumerate(keys)}
    return trace.take([rows[request.dataset, request.request_id] for request in plan.requests])


def _as_tested(result: RequestResult) -> list[float]:
    """Return `accept_prob` of a request, with 0 and 1 where a round of the run tested the position.

    A pass over the finished output may round differently than the rounds of the run did.
    """
    known, at = list(result.accept_prob), 0
    for drafted, accepted in zip(result.drafted, result.accepted, strict=True):
        end = at + accepted
        known[at:end] = [1.0] * accepted
        if accepted < drafted and end < len(known):
            known[end] = 0.0
        at = end + 1
    return known
