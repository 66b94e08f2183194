"""What past requests teach a server, as `sim.experiment.stage` has it; a test holds the two together.

Written again because what runs inside vLLM needs no simulator.
"""

import math

import numpy as np

from policies import Outlook, Past, TimeModel
from traces import LEARNED, PricedTrace, Profile, Trace, price


def outlook_of(trace: Trace, profile: Profile, seats: int) -> Outlook:
    """From requests served in batches as large as there are seats, or as the profile covers.

    Predictions of theirs are those that the trace was recorded with; where it holds none, their true lengths.
    """
    past = price(trace, profile, min(seats, max(profile.costs.rounds)))
    mean_round = past.mean_round_ns()
    sizes = np.sort(past.estimated_ns(mean_round)).tolist()
    return Outlook(mean_round, sizes, past_of(past), time=time_model_of(past))


def past_of(priced: PricedTrace) -> Past:
    """All requests of a trace."""
    trace, emitted = priced.trace, np.append(0, np.cumsum(priced.emitted))
    starts, middles = trace.offsets[:-1], trace.offsets[:-1] + trace.rounds // 2
    predicted = trace.predictions.get(LEARNED, trace.output_tokens)
    return Past(predicted, trace.output_tokens, trace.rounds, emitted[middles] - emitted[starts])


def time_model_of(past: PricedTrace) -> TimeModel:
    """ALISE's time model, fitted to past requests."""
    trace, cost = past.trace, past.profile.round_cost(past.batch)
    prompts = trace.prompt_tokens.astype(float)
    lengths, counts = np.unique(trace.drafted, return_counts=True)
    rounds, tokens = len(trace.drafted), int(trace.output_tokens.sum())
    pairs = list(zip(lengths.tolist(), counts.tolist(), strict=True))
    shared = math.gcd(rounds, tokens)
    return TimeModel(
        prefill_ns_a_token=round(float((prompts @ past.prefill_ns) / max(1.0, prompts @ prompts))),
        step_ns_a_token=past.batch * sum(count * cost.per_token_ns(n) for n, count in pairs) // rounds,
        step_ns=sum(count * cost.base_ns(n) for n, count in pairs) // rounds,
        rounds=rounds // shared,
        tokens=tokens // shared,
        prefill=past.profile.costs.prefill,
    )
