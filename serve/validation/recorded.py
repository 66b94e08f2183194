"""A live run as a trace: drafted and accepted tokens of its requests, in the order of the plan."""

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
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
            if any(results[i].drafted)
            else [plan.draft_tokens] * len(results[i].drafted),
        }
        for i, request in enumerate(plan.requests)
    ]
    return trace_from_rounds(
        rows, Provenance(source=f"a live run of {record.engine} under {record.policy}")
    )
