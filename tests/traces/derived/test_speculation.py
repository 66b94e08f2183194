"""Throughput by draft length, compared with values computed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from lapsd.traces import (
    Profile,
    at_draft_length,
    load_profile,
    load_trace,
    price,
    speculation_pays,
    trace_from_rounds,
)
from lapsd.traces.derived.speculation import kv_tokens_needed, largest_batch
from lapsd.traces.provenance import KVCapacity

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


def test_rounds_are_priced_in_a_batch_of_growing_contexts():
    """The table's rates equal those of the replayed trace, priced round by round."""
    trace, profile = load_trace("reference"), load_profile("llama-3.1-8b-h100")
    table = speculation_pays(trace, profile, batches=(8, 100), lengths=(0, 3), seed=5)
    for row in table.itertuples():
        replayed = at_draft_length(
            trace, row.draft_tokens, np.random.default_rng([5, row.draft_tokens])
        )
        seconds = price(replayed, profile, row.batch).decode_ns.sum() / 1e9
        rate = row.batch * trace.output_tokens.sum() / seconds
        assert row.tokens_per_s == pytest.approx(rate, rel=1e-12)


def test_the_interval_of_the_speed_up_compares_the_same_requests():
    """Requests that differ only in length have equal speed-ups, so that the interval is narrow."""
    rows = [
        {
            **ROW,
            "request_id": str(tokens),
            "output_tokens": tokens,
            "drafted": [2] * (tokens // 3),
            "accepted": [2] * (tokens // 3),
            "acceptable": list(range(tokens, 0, -1)),
            "accept_prob": [1.0] * tokens,
        }
        for tokens in (6, 60, 600)
    ]
    profile = Profile.constant(draft_ms=1, verify_ms=10)
    plain, drafted = speculation_pays(
        trace_from_rounds(rows), profile, batches=(1,), lengths=(0, 2)
    ).itertuples()
    assert (plain.over_plain_low, plain.over_plain_high) == (1, 1)
    assert drafted.over_plain_low == pytest.approx(30 / 12)
    assert drafted.over_plain_high == pytest.approx(30 / 12)


def test_batches_and_draft_lengths_that_do_not_fit_in_memory_are_left_out():
    """The request has 16 tokens: 18 with proposals of length 2, 21 with length 5."""
    trace = trace_from_rounds([ROW])
    several = load_profile("llama-3.1-8b-h100")

    def table(tokens):
        capacity = KVCapacity(bytes_per_token=1, tokens=tokens)
        profile = replace(several, kv_capacity=capacity)
        pays = speculation_pays(trace, profile, batches=(1, 2, 3, 512), lengths=(0, 2, 5))
        return list(zip(pays["batch"], pays["draft_tokens"], strict=True)), largest_batch(
            trace, profile
        )

    assert kv_tokens_needed(trace, 2, 5) == 42
    assert table(41) == ([(1, 0), (1, 2), (1, 5), (2, 0), (2, 2)], 2)
    assert table(36) == ([(1, 0), (1, 2), (1, 5), (2, 0), (2, 2)], 2)
    assert table(35) == ([(1, 0), (1, 2), (1, 5), (2, 0)], 2)
    assert table(48)[1] == 3
    assert table(None)[1] == 256
    assert len(table(None)[0]) == 9  # the profile does not cover batch size 512
