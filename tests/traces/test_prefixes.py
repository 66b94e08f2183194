"""Hashes of prompts: their file, their checks, the public trace, and sessions."""

from dataclasses import replace

import numpy as np
import pytest

from lapsd.traces import (
    FormatError,
    Prefixes,
    fit_acceptance,
    generate,
    load_arrivals,
    load_trace,
    ordinary_decoding,
    save_arrivals,
    save_trace,
    trace_from_rounds,
)
from lapsd.traces.derived.sessions import Sessions, in_sessions
from lapsd.traces.importers import Mooncake
from tests.builders import row

TRACE = trace_from_rounds(
    [
        row("a", 9, [0], prefix_hashes=[5, 6]),
        row("b", 3, [0], prefix_hashes=[]),
        row("c", 12, [0], prefix_hashes=[5, 6, 7]),
    ],
    prefix_block=4,
)


@pytest.fixture(scope="module")
def mooncake(public_data):
    path = public_data / "arrivals" / "mooncake_conversation_trace.jsonl.gz"
    return Mooncake().read(path).trace


def hashes(trace):
    return [trace.prefixes.of_row(i).tolist() for i in range(len(trace.prefixes))]


def test_a_saved_trace_keeps_its_hashes(tmp_path):
    save_trace(TRACE, tmp_path / "t.parquet")
    loaded = load_trace(tmp_path / "t.parquet")
    assert (loaded.prefixes.block, hashes(loaded)) == (4, [[5, 6], [], [5, 6, 7]])
    assert hashes(loaded.take([2, 1, 2])) == [[5, 6, 7], [], [5, 6, 7]]
    assert dict(loaded.provenance.notes) == {}


def test_a_trace_with_hashes_is_split_in_order():
    train, test = replace(TRACE).split(split_seed=3)
    assert (hashes(train), hashes(test)) == ([[5, 6]], [[], [5, 6, 7]])


@pytest.mark.parametrize(
    ("lists", "block", "message"),
    [
        ([[1, 2], [], [1, 2, 3, 4]], 4, "row 2, field 'prefix_hashes': 4 hashes: a prompt of 12"),
        ([[1, 2], [], [2]], 4, "row 2, field 'prefix_hashes': 2 follows different hashes"),
        ([[1, 2], [], [1, 3, 2]], 4, "row 2, field 'prefix_hashes': 2 follows different hashes"),
        ([[1, 1], [], []], 4, "row 0, field 'prefix_hashes': 1 follows different hashes"),
        ([[], [], []], 0, "prefix_block 0: must be between 1 and"),
    ],
)
def test_hashes_that_cannot_be_are_refused(lists, block, message, tmp_path):
    wrong = replace(TRACE, prefixes=Prefixes.of(lists, block))
    with pytest.raises(FormatError, match=message):
        save_trace(wrong, tmp_path / "t.parquet")


def test_hashes_need_the_tokens_of_a_block():
    with pytest.raises(FormatError, match="'prefix_block', must be given together"):
        trace_from_rounds([row("a", 9, [0], prefix_hashes=[5])])
    with pytest.raises(FormatError, match="'prefix_block', must be given together"):
        trace_from_rounds([row("a", 9, [0])], prefix_block=4)


def test_the_public_mooncake_trace_keeps_the_hashes_of_full_blocks(mooncake, tmp_path):
    save_arrivals(mooncake, tmp_path / "a.parquet")
    found = load_arrivals(tmp_path / "a.parquet")
    assert (found.prefixes.block, found.prefixes.blocks.sum()) == (512, 276_491)
    assert np.array_equal(found.prefixes.blocks, found.prompt_tokens // 512)
    assert hashes(found)[1][:3] == [0, 14, 15]


def test_the_reuse_in_the_public_mooncake_trace_is_that_of_a_plain_count(mooncake):
    seen, found = set(), 0
    for prompt, own in zip(mooncake.prompt_tokens.tolist(), hashes(mooncake), strict=True):
        full = own[: (prompt - 1) // 512]
        found += 512 * sum(number in seen for number in full)
        seen.update(full)
    share = mooncake.prefixes.reusable(mooncake.prompt_tokens)
    assert share == pytest.approx(found / mooncake.prompt_tokens.sum())
    assert round(share, 3) == 0.373


def test_prompts_of_sessions_extend_those_before_them():
    """Session 0 has messages of 3 and 2 tokens and an output of 4; 10 tokens of system prompt are
    two blocks of 4 and a part.
    """
    messages = ordinary_decoding([3, 2, 5, 1], [4, 1, 2, 2])
    made = in_sessions(messages, Sessions(2, 2, 1, 10, 4))
    assert made.prompt_tokens.tolist() == [13, 15, 19, 18]
    assert list(made.request_id) == [f"session-{s}-turn-{t}" for t in (0, 1) for s in (0, 1)]
    assert hashes(made) == [[0, 1, 2], [0, 1, 4], [0, 1, 2, 3], [0, 1, 4, 5]]
    share = (0 + 8 + 12 + 12) / (13 + 15 + 19 + 18)
    assert made.provenance.notes["sessions"]["reusable_share"] == pytest.approx(share, abs=1e-4)


def test_sessions_of_generated_requests_are_a_valid_trace(tmp_path):
    reference = load_trace("reference")
    made = generate(reference, fit_acceptance(reference), requests=60, seed=1)
    sessions = in_sessions(made, Sessions(turns=7, system_prompts=3, system_tokens=50))
    save_trace(sessions, tmp_path / "s.parquet")
    assert len(load_trace(tmp_path / "s.parquet")) == 56
    first = {sessions.prefixes.of_row(i)[0] for i in range(8)}
    assert len(first) == 3


def test_numbers_of_sessions_out_of_bounds_are_refused():
    with pytest.raises(ValueError, match="turns=0: must be between 1 and"):
        Sessions(turns=0)
