"""The policy context of a server inside vLLM, from past requests.

The simulator has its own (`lapsd.sim.experiment.prepared_scenario`), which code inside vLLM does
not import.
"""

import numpy as np

from lapsd.policies import PolicyContext, RequestHistory, TimeModel
from lapsd.policies.drafts import DraftContext
from lapsd.traces import (
    LEARNED,
    Profile,
    Trace,
    acceptance_by_confidence,
    acceptance_by_place,
    price,
)


def policy_context(trace: Trace, profile: Profile, batch_slots: int) -> PolicyContext:
    """Return the context from a trace of past requests and a profile of costs.

    The requests are priced at the batch size `batch_slots`, or at the largest one that the profile
    covers. Their predicted lengths come from the trace; if it has none, the true lengths are used.
    """
    priced = price(trace, profile, min(batch_slots, max(profile.costs.rounds)))
    mean_round = priced.mean_round_ns()
    sizes = np.sort(priced.estimated_ns(mean_round)).tolist()
    predicted = trace.predictions.get(LEARNED, trace.output_tokens)
    history = RequestHistory(predicted, trace.output_tokens, trace.rounds, priced.early_tokens())
    return PolicyContext(
        mean_round,
        sizes,
        history,
        time=TimeModel.fit(
            priced.trace.prompt_tokens,
            priced.prefill_ns,
            priced.mean_step_ns(),
            len(priced.trace.drafted),
            int(priced.trace.output_tokens.sum()),
            profile.costs.prefill,
        ),
        drafts=DraftContext(acceptance_by_place(trace), *acceptance_by_confidence(trace)),
    )
