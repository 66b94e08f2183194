"""Scenarios with prefix caches: what they show, and what is refused."""

import numpy as np
import pytest

from lapsd import compare
from lapsd.cli.tables.comparison import comparison_table
from lapsd.policies import FCFS
from lapsd.sim.experiment.prepared_scenario import PreparedScenario
from lapsd.traces import Profile, ordinary_decoding
from lapsd.traces.derived.sessions import Sessions, in_sessions

PROFILE = Profile.constant(draft_ms=1, verify_ms=10)
MESSAGES = ordinary_decoding([20] * 60, [5] * 60)
SESSIONS = in_sessions(MESSAGES, Sessions(turns=5, interleaved=3, system_tokens=32))
CACHED = {"prefix_cache": True, "memory": "paged:blocks=999", "evict": "recompute"}


def headings(comparison):
    return [str(column.header) for column in comparison_table(comparison).columns]


def test_a_table_shows_the_hit_rate_where_prefixes_are_cached():
    how = {"requests": 30, "seeds": 2, "load": 0.5, "request_order": "trace"}
    with_cache = compare(SESSIONS, PROFILE, [FCFS()], **how, **CACHED)
    without = compare(SESSIONS, PROFILE, [FCFS()], **how)
    assert "cache\nhits %" in headings(with_cache)
    assert "cache\nhits %" not in headings(without)
    assert "prefixes cached" in with_cache.caption
    cached, prompts = with_cache.runs["cached_tokens"], with_cache.runs["prompt_tokens"]
    assert with_cache.requests["cached_tokens"].sum() == cached.sum() > 0
    assert with_cache.records[0]["prefix_hit_rate"] == pytest.approx(cached.sum() / prompts.sum())
    assert without.runs["cached_tokens"].sum() == 0


def test_no_bound_is_claimed_with_a_prefix_cache():
    run = compare(SESSIONS, PROFILE, [FCFS()], requests=9, seeds=2, **CACHED)
    assert run.runs["bound_s"].isna().all()
    assert run.records[0]["ratio_to_bound"] is None


def test_requests_in_the_order_of_the_trace_are_consecutive():
    prepared = PreparedScenario.of(SESSIONS, PROFILE, requests=40, request_order="trace")
    rows = prepared.workload(3).rows
    assert set(np.diff(rows) % len(prepared.split.test.trace)) == {1}
    more = PreparedScenario.of(SESSIONS, PROFILE, requests=50, request_order="trace")
    assert np.array_equal(more.workload(3).rows[:40], rows)
    assert rows[0] != prepared.workload(4).rows[0]


@pytest.mark.parametrize(
    ("trace", "wrong", "message"),
    [
        (MESSAGES, CACHED, "prefix_cache=true: the trace has no hashes of prompts"),
        (
            SESSIONS,
            {"prefix_cache": True},
            "prefix_cache=true with memory auto and evict swap: needs memory paged, without park,"
            " and evict recompute",
        ),
        (
            SESSIONS,
            CACHED | {"memory": "paged:blocks=999+park=true"},
            "prefix_cache=true with memory paged:blocks=999\\+park=true and evict recompute",
        ),
        (
            SESSIONS,
            CACHED | {"memory": "paged:blocks=999+block=5"},
            "memory paged: block 5: must divide the trace's prefix_block, 16, for a prefix_cache",
        ),
        (
            SESSIONS,
            {"request_order": "trace", "dataset": "all=1+others=2"},
            "request_order=trace: dataset 'all=1\\+others=2' repeats requests",
        ),
    ],
)
def test_what_cannot_be_cached_is_refused(trace, wrong, message):
    with pytest.raises(ValueError, match=message):
        PreparedScenario.of(trace, PROFILE, **wrong)


def test_a_seed_of_a_split_in_order_has_no_effect():
    with pytest.raises(ValueError, match="split_seed=3: has no effect with hashes of prompts"):
        compare(SESSIONS, PROFILE, [FCFS()], split_seed=3, requests=3, seeds=1)
