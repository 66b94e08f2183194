"""What runs share: the half of a trace that workloads are drawn from, and what a server learnt on the other."""

import numpy as np

from policies import Outlook
from traces import PricedTrace, Profile, Trace, at_draft_length, is_mix, mix, price, shares_of

REPLAY_STREAM = 4  # after the streams of `traces.workload`


def outlook_of(training: PricedTrace) -> Outlook:
    """What a server learns from past requests: the training half of the trace."""
    mean_round = training.mean_round_ns()
    return Outlook(mean_round, np.sort(training.estimated_ns(mean_round)).tolist())


def prepared_halves(
    trace: Trace,
    profile: Profile,
    *,
    dataset: str | None = None,
    split_seed: int = 0,
    draft_tokens: int | None = None,
    batch: int = 1,
) -> tuple[PricedTrace, Outlook, float]:
    """The half that workloads are drawn from, what is known of the other, and a request's mean share of the server.

    Parameters
    ----------
    dataset : only this data set's requests, or a mix such as `code=0.7+prose=0.3` (see `traces.mix`).
    draft_tokens : replay the trace as if every round had drafted that many tokens; None: as recorded.
    batch : loads, and what is known beforehand, are of full batches of that size.

    Raises
    ------
    ValueError
        If the trace has no such data set or draft length, or the profile does not cover the batch.
    """
    shares = shares_of(dataset) if dataset and dataset not in trace.datasets and is_mix(dataset) else None
    population = trace.only(dataset) if dataset and not shares else trace
    if draft_tokens is not None:
        population = at_draft_length(population, draft_tokens, np.random.default_rng([split_seed, REPLAY_STREAM]))
    past, future = population.halves(split_seed)
    if shares:
        past, future = mix(past, shares), mix(future, shares)
    return price(future, profile), outlook_of(price(past, profile, batch)), price(future, profile, batch).mean_size_ns
