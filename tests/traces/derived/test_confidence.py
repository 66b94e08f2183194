"""How well the draft model's own probabilities predict acceptance."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from lapsd.traces import load_trace, reliability, trace_from_rounds
from tests.builders import row


def trace(draft_prob, acceptable=None, accept_prob=None):
    """Return a trace of one request without accepted drafts, so that each token is a round."""
    columns = {"acceptable": acceptable, "accept_prob": accept_prob, "draft_prob": draft_prob}
    given = {name: list(values) for name, values in columns.items() if values is not None}
    return trace_from_rounds([row("a", 5, [0] * len(draft_prob), **given)])


def test_bins_hold_the_mean_probability_and_the_share_of_accepted_proposals():
    found = reliability(trace([0.05, 0.0, 0.1, 0.95, 1.0, 0.92], [0, 1, 0, 2, 1, 0]))
    rows = found.bins.to_dict("records")
    assert [(r["low"], r["high"], r["proposals"]) for r in rows] == [
        (pytest.approx(0.0), pytest.approx(0.1), 2),
        (pytest.approx(0.1), pytest.approx(0.2), 1),
        (pytest.approx(0.9), pytest.approx(1.0), 3),
    ]
    assert [r["draft_prob"] for r in rows] == pytest.approx([0.025, 0.1, 2.87 / 3])
    assert [r["accepted"] for r in rows] == pytest.approx([0.5, 0.0, 2 / 3])
    # accepted: 0, 0.95, 1; rejected: 0.05, 0.1, 0.92; 6 of the 9 pairs are in order
    assert found.auc == pytest.approx(6 / 9)


def test_ties_count_half():
    assert reliability(trace([0.5] * 4, [0, 1, 1, 0])).auc == 0.5
    assert reliability(trace([0.5, 0.5, 0.7], [0, 1, 1])).auc == 0.75


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_that_of_the_mann_whitney_statistic(seed):
    rng = np.random.default_rng(seed)
    probability = np.round(rng.random(300), 2)  # with ties
    accepted = rng.random(300) < probability
    found = reliability(trace(probability, accepted.astype(int)))
    known = probability.astype(np.float32)
    statistic = mannwhitneyu(known[accepted], known[~accepted]).statistic
    assert found.auc == pytest.approx(statistic / (accepted.sum() * (~accepted).sum()))


def test_a_sampled_proposal_counts_with_its_probability_of_acceptance():
    """As if each proposal were there four times."""
    probability, share = [0.2, 0.4, 0.8], [0.25, 0.5, 0.75]
    found = reliability(trace(probability, accept_prob=share))
    scores = np.repeat(np.float32(probability), 4)
    accepted = np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0], dtype=bool)
    assert found.bins["accepted"].tolist() == pytest.approx(share)
    statistic = mannwhitneyu(scores[accepted], scores[~accepted]).statistic
    assert found.auc == pytest.approx(statistic / 36)


def test_no_area_where_all_or_no_proposals_are_accepted():
    assert math.isnan(reliability(trace([0.1, 0.9], [1, 1])).auc)
    assert math.isnan(reliability(trace([0.1, 0.9], [0, 0])).auc)


def test_a_trace_without_probabilities_or_acceptance_by_position_has_none():
    recorded = load_trace("reference-confidence")
    assert reliability(load_trace("reference")) is None
    assert reliability(replace(recorded, accept_prob=None, acceptable=None)) is None
    assert 0.8 < reliability(recorded).auc < 0.9
