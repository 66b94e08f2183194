"""A time budget limits which requests are decoded; a further call decodes the rest."""

import math
import time

import pytest

from lapsd.calibrate import Sampling, Settings
from lapsd.calibrate.budget import Budget
from lapsd.calibrate.prompts import Prompt
from lapsd.calibrate.recording import MemoryLog, decode, first_of_each, trace_row
from lapsd.traces import trace_from_rounds
from tests.calibrate.tiny import tiny_pair

SETTINGS = Settings((3, 1), max_new_tokens=6, requests=4, sampling=Sampling(0.7))
REQUESTS = [(Prompt(f"{name}-{i}", name, "text"), [1 + i, 2, 3]) for i in range(4) for name in "ab"]


def used_up():
    return Budget(1, begun=time.monotonic() - 10)


def test_a_budget_that_is_used_up_leaves_two_requests_of_each_set_at_every_draft_length():
    log = MemoryLog()
    assert decode(tiny_pair(0.1), REQUESTS, SETTINGS, log, budget=used_up()) == 4
    decoded = [(r["draft_tokens"], r["request_id"]) for r in log.records]
    assert decoded == [(n, name) for n in (3, 1) for name in ("a-0", "b-0", "a-1", "b-1")]


def test_a_shortened_recording_is_completed_with_the_same_tokens():
    pair, whole, pieced = tiny_pair(0.1), MemoryLog(), MemoryLog()
    assert decode(pair, REQUESTS, SETTINGS, whole) == 8
    decode(pair, REQUESTS, SETTINGS, pieced, budget=used_up())
    assert decode(pair, REQUESTS, SETTINGS, pieced) == 8
    for n in (3, 1):
        tokens = [
            [(r["request_id"], r["tokens"]) for r in log.records if r["draft_tokens"] == n]
            for log in (whole, pieced)
        ]
        assert tokens[0] == tokens[1]


def test_the_first_records_of_each_draft_length_are_kept_in_order():
    records = [{"draft_tokens": n, "at": i} for i, n in enumerate((3, 3, 1, 1, 3, 1))]
    assert [r["at"] for r in first_of_each(records, 2)] == [0, 1, 2, 3]


def test_a_journal_begun_without_a_column_by_position_gives_a_trace_without_it():
    log = MemoryLog()
    decode(tiny_pair(0.1), REQUESTS, SETTINGS, log)
    for record in log.records[:3]:
        del record["draft_prob"]
    whole, older = (
        trace_from_rounds([trace_row(r) for r in log.records if r["draft_tokens"] == n])
        for n in (1, 3)
    )
    assert older.draft_prob is None
    assert older.accept_prob is not None
    assert whole.draft_prob is not None


def test_progress_says_how_long_decoding_can_take():
    said = []
    decode(
        tiny_pair(0.1),
        REQUESTS,
        SETTINGS,
        MemoryLog(),
        lambda what, done, total, takes: said.append((what, done, total, takes)),
        Budget(1_000),
    )
    assert said[0] == ("decoding requests", 0, 16, "at most 500 s")
    assert [done for _, done, _, _ in said] == list(range(16))


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_a_budget_must_be_above_0(seconds):
    with pytest.raises(ValueError, match="budget=.*: must be above 0 seconds"):
        Budget(seconds)


def test_a_budget_is_unlimited_by_default():
    assert not Budget().limited
    assert Budget().left_s == math.inf
    assert Budget().at_most() == ""
    assert used_up().left_s == 0
