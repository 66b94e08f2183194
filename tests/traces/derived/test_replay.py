"""Replays at other draft lengths, compared with values computed by hand."""

import numpy as np
import pytest

from lapsd.traces import FormatError, at_draft_length, load_trace, save_trace, trace_from_rounds
from tests.builders import row

RNG = np.random.default_rng(0)
# six output tokens; the draft proposes the right token at positions 0, 1, 2 and 5
CERTAIN = row(
    "a", 3, [3, 1], cut=0, acceptable=[3, 2, 1, 0, 0, 1], accept_prob=[1.0, 1.0, 1.0, 0.0, 0.0, 1.0]
)


@pytest.mark.parametrize(
    ("n", "accepted"),
    [(0, [0] * 6), (1, [1, 1, 0, 1]), (2, [2, 0, 0, 1]), (3, [3, 0, 1]), (9, [3, 0, 1])],
)
def test_a_replay_derives_rounds_from_the_acceptance_of_each_position(n, accepted):
    trace = trace_from_rounds([CERTAIN, CERTAIN])
    for given in (
        trace,
        trace_from_rounds([{k: v for k, v in CERTAIN.items() if k != "accept_prob"}] * 2),
    ):
        replayed = at_draft_length(given, n, RNG)
        assert replayed.accepted.tolist() == accepted * 2
        assert (replayed.drafted == n).all()
        assert replayed.output_tokens.tolist() == [6, 6]


def test_accepted_runs_end_at_the_end_of_the_request():
    first_right = row("a", 3, [1], acceptable=[1, 0], accept_prob=[1.0, 0.0])
    both_right = row("b", 3, [2], cut=1, acceptable=[2, 1], accept_prob=[1.0, 1.0])
    replayed = at_draft_length(trace_from_rounds([both_right, both_right, first_right]), 4, RNG)
    assert replayed.accepted.tolist() == [2, 2, 1]


def test_a_replay_accepts_proposals_with_their_probabilities():
    long = row("a", 3, [0] * 20_000, acceptable=[0] * 20_000, accept_prob=[0.6] * 20_000)
    accepted = at_draft_length(trace_from_rounds([long]), 2, np.random.default_rng(1)).accepted
    # a geometric distribution, truncated at two: 0.4, 0.24, 0.36
    assert np.bincount(accepted) / len(accepted) == pytest.approx([0.4, 0.24, 0.36], abs=0.02)


def test_columns_for_replays_are_kept_in_files_and_selections(tmp_path):
    trace = trace_from_rounds([CERTAIN, row("b", 1, [0], acceptable=[1], accept_prob=[0.25])])
    save_trace(trace, tmp_path / "t.parquet")
    again = load_trace(tmp_path / "t.parquet").take([1, 0])
    assert again.accept_prob.tolist() == [0.25, 1, 1, 1, 0, 0, 1]
    assert again.acceptable.tolist() == [1, 3, 2, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"acceptable": [3, 2, 1, 0, 0, 2]},
            "field 'acceptable': must lie between 0 and the number of remaining output tokens",
        ),
        ({"acceptable": [3, 2, 1]}, "field 'acceptable': 3: must have one value per output token"),
        ({"accept_prob": [1.5] * 6}, "field 'accept_prob': must lie between 0 and 1"),
        ({"accept_prob": [float("nan")] * 6}, "field 'accept_prob': must lie between 0 and 1"),
        ({"accept_prob": [None] * 6}, "field 'accept_prob': a value is missing"),
    ],
)
def test_invalid_columns_for_replays_raise_an_error(change, message):
    with pytest.raises(FormatError, match=message):
        trace_from_rounds([CERTAIN | change])


def test_a_replay_raises_an_error_without_the_columns_or_with_an_invalid_length():
    with pytest.raises(ValueError, match="holds no 'accept_prob'"):
        at_draft_length(trace_from_rounds([row("a", 3, [1])]), 2, RNG)
    with pytest.raises(ValueError, match="draft tokens -1: must be between 0 and 1000"):
        at_draft_length(trace_from_rounds([CERTAIN]), -1, RNG)
