"""A live run as a trace: what its requests drafted and accepted, in the order of the plan."""

from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.traces import Trace, trace_from_rounds
from lapsd.traces.provenance import Provenance


def trace_of(plan: Plan, record: Record) -> Trace:
    """A row a request of the plan, in its order; who ended with the token of its prompt has a round
    like any other.

    Raises
    ------
    ValueError
        If the run was interrupted: not all requests have an end.
    """
    served = record.by_index
    if len(served) < len(plan.requests):
        raise ValueError(
            f"a run of {len(plan.requests)} requests was interrupted after {len(served)}"
        )
    read = (
        1 if record.engine == "vllm" else 0
    )  # its prompts emit a token, which rounds then have as a part of them
    rows = [
        {
            "request_id": planned.request_id,
            "dataset": planned.dataset,
            "prompt_tokens": len(planned.prompt) + read,
            "output_tokens": len(served[i].tokens),
            "accepted": served[i].accepted,
            "drafted": served[i].drafted
            if any(served[i].drafted)
            else [plan.draft_tokens] * len(served[i].drafted),
        }
        for i, planned in enumerate(plan.requests)
    ]
    return trace_from_rounds(
        rows, Provenance(source=f"a live run of {record.engine} under {record.policy}")
    )
