"""What past requests say of drafts: acceptance by place and by confidence."""

import itertools

import numpy as np
import pytest

from lapsd.policies.drafts import DraftContext
from lapsd.traces import acceptance_by_confidence, acceptance_by_place, trace_from_rounds
from tests.builders import row


def trace(acceptable, **more):
    return trace_from_rounds(
        [row("a", 5, [0] * len(acceptable), acceptable=list(acceptable), **more)]
    )


def test_acceptance_by_place_counts_the_positions_where_a_place_is_reached():
    """Positions 0 to 4 accept 3, 2, 1, 0 and 0 proposals in a row."""
    # place 1: 3 of 5; place 2: reached at 0, 1, 2: 2 of 3; place 3: at 0, 1: 1 of 2; place 4: 0
    assert acceptance_by_place(trace([3, 2, 1, 0, 0])) == pytest.approx([3 / 5, 2 / 3, 1 / 2, 0])


def test_a_place_beyond_the_end_of_the_output_is_not_tested():
    # position 3 accepts 1 proposal, and no second one lies before the end
    assert acceptance_by_place(trace([0, 0, 2, 1])) == pytest.approx([1 / 2, 1])


def test_requests_do_not_run_into_each_other():
    rows = [row(name, 5, [0, 0], acceptable=[2, 1]) for name in "ab"]
    assert acceptance_by_place(trace_from_rounds(rows)) == pytest.approx([1, 1])


def test_a_trace_without_columns_by_position_says_nothing():
    bare = trace_from_rounds([row("a", 5, [0, 2])])
    assert acceptance_by_place(bare) == ()
    assert acceptance_by_confidence(bare) == ((), ())
    assert acceptance_by_confidence(trace([1, 0])) == ((), ())
    assert DraftContext().acceptance == 0.5


def test_the_share_by_confidence_never_falls():
    """Few proposals are a bin each; isotonic regression pools the two that are out of order."""
    confidence, accepted = acceptance_by_confidence(
        trace([1, 0, 1, 0, 1], draft_prob=[0.75, 0.5, 0.25, 0.125, 1.0])
    )
    assert confidence == pytest.approx([0.125, 0.25, 0.5, 0.75, 1.0])
    assert accepted == pytest.approx([0, 0.5, 0.5, 1, 1])


def test_confidence_bins_hold_equally_many_proposals():
    rng = np.random.default_rng(0)
    probability = rng.random(1000).astype(np.float32)
    accepted = (rng.random(1000) < probability).astype(int)
    known, shares = acceptance_by_confidence(trace(accepted, draft_prob=probability.tolist()))
    assert len(known) == 50
    parts = np.sort(probability).reshape(50, 20)
    assert known == pytest.approx(parts.mean(axis=1), rel=1e-6)
    assert all(after >= before for before, after in itertools.pairwise(shares))
    assert np.mean(shares) == pytest.approx(accepted.mean())


def test_equal_probabilities_are_one_bin():
    known, shares = acceptance_by_confidence(trace([1, 0, 1, 1], draft_prob=[0.5] * 4))
    assert known == (0.5,)
    assert len(shares) == 1


def test_mean_acceptance_weighs_places_by_how_often_they_are_reached():
    # place 2 is reached half as often as place 1
    assert DraftContext((0.5, 0.8)).acceptance == pytest.approx((0.5 + 0.5 * 0.8) / 1.5)
