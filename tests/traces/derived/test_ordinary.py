"""Ordinary decoding, as speculation without draft tokens."""

import numpy as np
import pytest

from lapsd import Capacity, simulate
from lapsd.policies import FCFS, LapsSD
from lapsd.traces import (
    FormatError,
    Profile,
    at_draft_length,
    load_trace,
    ordinary_decoding,
    price,
    save_trace,
    trace_from_rounds as rounds_of,
)
from tests.builders import context, row, workload


def test_ordinary_decoding_emits_one_token_per_round():
    made = ordinary_decoding([5, 0], [3, 1], dataset=["a", "b"])
    by_hand = rounds_of([row("request-0", 5, [0] * 3, n=0), row("request-1", 0, [0], n=0)])
    for column in ("prompt_tokens", "output_tokens", "offsets", "drafted", "accepted"):
        assert getattr(made, column).tolist() == getattr(by_hand, column).tolist()
    assert (made.request_id, made.datasets) == (by_hand.request_id, ["a", "b"])


def test_a_trace_of_ordinary_decoding_loads_unchanged_from_a_file(tmp_path):
    made = ordinary_decoding(np.arange(9), np.arange(1, 10)).with_prediction("x", np.arange(1, 10))
    save_trace(made, tmp_path / "t.parquet")
    again = load_trace(tmp_path / "t.parquet")
    assert again.output_tokens.tolist() == made.output_tokens.tolist()
    assert not again.drafted.any()
    assert again.predictions["x"].tolist() == list(range(1, 10))


@pytest.mark.parametrize(
    ("prompts", "outputs", "message"),
    [
        ([], [], "lengths: no requests"),
        ([1, 2], [1], "2 prompts, 1 outputs"),
        ([1, 2], [4, 0], "row 1, field 'output_tokens': 0: below 1"),
        ([1, -2], [4, 1], "row 1, field 'prompt_tokens': -2: below 0"),
    ],
)
def test_ordinary_decoding_raises_an_error_for_invalid_lengths(prompts, outputs, message):
    with pytest.raises(FormatError, match=message):
        ordinary_decoding(prompts, outputs)


def test_any_trace_replays_without_drafts_even_without_data_on_proposals():
    trace = rounds_of([row("a", 3, [2, 1]), row("b", 1, [4], cut=1)])
    plain = at_draft_length(trace, 0, np.random.default_rng(0))
    assert plain.rounds.tolist() == trace.output_tokens.tolist() == [5, 4]
    assert not plain.drafted.any()
    with pytest.raises(ValueError, match="holds no 'accept_prob'"):
        at_draft_length(trace, 1, np.random.default_rng(0))


def test_a_round_of_ordinary_decoding_costs_one_pass_of_the_target():
    trace = ordinary_decoding([4, 9], [6, 2])
    priced = price(trace, Profile.constant(draft_ms=5, verify_ms=20, prefill_ms_per_token=1))
    assert priced.decode_ns.tolist() == [120_000_000, 40_000_000]
    work = workload(priced, [0, 1])
    ends = {
        kind: simulate(work, kind, context=context(priced), capacity=Capacity()).finish_ns.tolist()
        for kind in (FCFS(), LapsSD())
    }
    # 3 ms of prefill and six rounds of 20 ms; then 8 ms of prefill and two rounds
    assert ends[FCFS()] == [123_000_000, 171_000_000]
    assert max(ends[LapsSD()]) == 171_000_000
