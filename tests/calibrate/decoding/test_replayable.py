"""Tests that a replay at another draft length equals decoding at that length."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

from lapsd.calibrate import Sampling, generate
from lapsd.calibrate.decoding.replayable import replayable
from lapsd.traces import at_draft_length, trace_from_rounds
from tests.calibrate.tiny import tiny_pair

RNG = np.random.default_rng(0)


def recorded(pair, n, cap, sampling, requests):
    """Return a replayable trace of `requests` short prompts decoded at draft length n."""
    rows = []
    for request in range(requests):
        prompt = [request % 40, (7 * request + 3) % 40]
        done = generate(pair, prompt, n=n, max_new_tokens=cap, sampling=sampling, request=request)
        rows.append(
            {
                "request_id": str(request),
                "dataset": "toy",
                "prompt_tokens": 2,
                "output_tokens": len(done.tokens),
                "drafted": [r.drafted for r in done.rounds],
                "accepted": [r.accepted for r in done.rounds],
            }
            | replayable(pair, prompt, done.tokens, sampling.temperature)._asdict()
        )
    return trace_from_rounds(rows)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_greedy_replays_equal_real_runs_round_by_round(noise):
    pair = tiny_pair(noise)
    trace = recorded(pair, 4, 40, Sampling(), 8)
    for n in (1, 2, 3, 4, 7):
        real = recorded(pair, n, 40, Sampling(), 8)
        replayed = at_draft_length(trace, n, RNG)
        assert replayed.accepted.tolist() == real.accepted.tolist()
        assert replayed.offsets.tolist() == real.offsets.tolist()


def test_sampled_replays_have_the_acceptances_of_real_runs():
    pair = tiny_pair(0.08, torch.float32)
    trace = recorded(pair, 4, 16, Sampling(1.0, 0), 250)
    replayed = at_draft_length(trace, 2, np.random.default_rng(2)).accepted
    real = recorded(pair, 2, 16, Sampling(1.0, 1), 250).accepted
    counts = np.array([np.bincount(a, minlength=3) for a in (replayed, real)])
    assert (counts > 50).all()
    assert chi2_contingency(counts).pvalue > 1e-4
    # the test can fail: with all probabilities halved, acceptances differ significantly
    halved = replace(trace, accept_prob=trace.accept_prob / 2)
    wrong = np.bincount(at_draft_length(halved, 2, np.random.default_rng(2)).accepted, minlength=3)
    assert chi2_contingency(np.array([counts[1], wrong])).pvalue < 1e-4
