"""Throughput by draft length, compared with values computed by hand."""

import numpy as np
import pytest

from lapsd.traces import Profile, speculation_pays, trace_from_rounds

ROW = {
    "request_id": "a",
    "dataset": "d",
    "prompt_tokens": 10,
    "output_tokens": 6,
    "drafted": [2, 2],
    "accepted": [2, 2],
    "acceptable": [6, 5, 4, 3, 2, 1],
    "accept_prob": [1.0] * 6,
}


def test_throughput_is_tokens_over_the_time_of_their_rounds():
    table = speculation_pays(
        trace_from_rounds([ROW]), Profile.constant(draft_ms=1, verify_ms=10), lengths=(0, 1, 2, 5)
    )
    rates = dict(zip(table["draft_tokens"], table["tokens_per_s"], strict=True))
    assert rates[0] == pytest.approx(6 / 0.060)
    assert rates[1] == pytest.approx(6 / (3 * 0.011))
    assert rates[2] == pytest.approx(6 / (2 * 0.012))
    assert rates[5] == pytest.approx(6 / (1 * 0.015))
    assert table["over_plain"].tolist() == pytest.approx([1, 60 / 33, 60 / 24, 60 / 15])
    assert table["break_even"].tolist()[1:] == pytest.approx([0.1, 0.1, 0.1])


def test_throughput_falls_with_draft_length_if_no_draft_is_accepted():
    wrong = ROW | {
        "accepted": [0] * 6,
        "drafted": [2] * 6,
        "acceptable": [0] * 6,
        "accept_prob": [0.0] * 6,
    }
    table = speculation_pays(
        trace_from_rounds([wrong, wrong]), Profile.constant(draft_ms=1, verify_ms=10)
    )
    assert table["tokens_per_s"].is_monotonic_decreasing
    assert (table["low"] <= table["tokens_per_s"]).all()
    assert set(table["batch"]) == {1}  # the profile covers only batch size 1


def test_speculation_at_the_break_even_acceptance_equals_plain_decoding():
    """Proposals are independent and accepted at the break-even acceptance of draft length 1."""
    profile = Profile.constant(draft_ms=3, verify_ms=10)
    even = 0.3
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        stands = rng.random(200) < even
        run, acceptable = 0, []
        for s in stands[::-1]:
            run = run + 1 if s else 0
            acceptable.append(run)
        rows.append(
            {
                "request_id": str(i),
                "dataset": "d",
                "prompt_tokens": 1,
                "output_tokens": 200,
                "drafted": [0] * 200,
                "accepted": [0] * 200,
                "acceptable": acceptable[::-1],
                "accept_prob": stands.astype(float).tolist(),
            }
        )
    one = speculation_pays(trace_from_rounds(rows), profile, lengths=(0, 1)).iloc[1]
    assert one["break_even"] == pytest.approx(even)
    assert one["over_plain"] == pytest.approx(1.0, abs=0.02)
