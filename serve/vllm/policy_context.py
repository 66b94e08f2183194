"""What past requests teach a server that runs inside vLLM, where there is no simulator
(`lapsd.sim.experiment.prepared_scenario`).
"""

import numpy as np

from lapsd.policies import PolicyContext, RequestHistory, TimeModel
from lapsd.traces import LEARNED, Profile, Trace, price


def policy_context(trace: Trace, profile: Profile, batch_slots: int) -> PolicyContext:
    """From requests served in batches as large as there are seats, or as the profile covers.

    Predictions of theirs are those that the trace was recorded with; where it holds none, their
    true lengths.
    """
    past = price(trace, profile, min(batch_slots, max(profile.costs.rounds)))
    mean_round = past.mean_round_ns()
    sizes = np.sort(past.estimated_ns(mean_round)).tolist()
    predicted = trace.predictions.get(LEARNED, trace.output_tokens)
    known = RequestHistory(predicted, trace.output_tokens, trace.rounds, past.early_tokens())
    return PolicyContext(
        mean_round, sizes, known, time=TimeModel(*past.time_terms(), prefill=profile.costs.prefill)
    )
