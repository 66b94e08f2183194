"""`lapsd generate --acceptance none` makes a trace from lengths alone."""

import numpy as np
import pytest

from lapsd.traces import ArrivalTrace, load_trace, save_arrivals


@pytest.fixture
def lengths(tmp_path):
    arrivals = np.arange(20, dtype=np.int64)
    save_arrivals(
        ArrivalTrace(arrivals, arrivals + 7, arrivals + 1, "a test"), tmp_path / "a.parquet"
    )
    return tmp_path / "a.parquet"


def test_public_lengths_are_served_without_drafts(lapsd, lengths, tmp_path):
    out = tmp_path / "t.parquet"
    assert lapsd("generate", "--lengths", lengths, "--acceptance", "none", "-o", out)[0] == 0
    made = load_trace(out)
    assert made.prompt_tokens.tolist() == list(range(7, 27))
    assert made.rounds.tolist() == made.output_tokens.tolist() == list(range(1, 21))
    code, text, _ = lapsd(
        "compare", "--trace", out, "--policy", "fcfs", "--seeds", 2, "--requests", 5
    )
    assert code == 0
    assert "lengths of a test" in text


def test_a_missing_file_of_lengths_is_refused(lapsd, tmp_path):
    code, _, error = lapsd("generate", "--acceptance", "none", "-o", tmp_path / "t.parquet")
    assert code == 2
    assert "--acceptance none: needs --lengths" in error
