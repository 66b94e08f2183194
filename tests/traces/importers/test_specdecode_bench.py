"""Acceptances per output position, as SpecDecode-Bench writes them and as flat records."""

import numpy as np
import pytest

from lapsd.traces import FormatError, at_draft_length
from lapsd.traces.importers import SpecDecodeBench
from tests.traces.importers.test_vllm import write

LENGTHS = [5, 4, 3, 2, 1, 1, 3, 2, 9]


def line(**changes):
    """A line of the public files: ids of tokens, and an object for each drafting method."""
    return {
        "id": 7,
        "prompt_token_ids": [11, 12, 13, 14],
        "generated_token_ids": list(range(9)),
        "acc_eagle": {"acc_len": LENGTHS},
        "acc_ngram": {"acc_len": [1] * 9},
    } | changes


def test_a_method_of_a_real_line_is_read_with_lengths_from_the_ids(tmp_path):
    file = write(tmp_path / "b.jsonl", line(), line(id=8))
    trace = SpecDecodeBench(method="eagle").read(file).trace
    assert trace.request_id == ["7", "8"]
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([4, 4], [9, 9])
    assert trace.accepted.tolist() == [4, 0, 2] * 2
    assert trace.provenance.source == "SpecDecode-Bench, eagle"
    nothing = SpecDecodeBench(method="ngram").read(file).trace
    assert nothing.accepted.tolist() == [0] * 18
    alone = {key: value for key, value in line().items() if key != "acc_ngram"}
    assert SpecDecodeBench().read(write(tmp_path / "c.jsonl", alone)).trace.accepted.tolist() == [
        4,
        0,
        2,
    ]


@pytest.mark.parametrize(
    ("method", "record", "message"),
    [
        (None, line(), "give the method, one of eagle, ngram"),
        ("medusa", line(), "no method 'medusa', but eagle, ngram"),
        ("eagle", {"acc_len": [1]}, "no method 'eagle', but none"),
        (None, {"id": 1}, "neither 'acc_len' nor a drafting method's"),
        (
            "eagle",
            line(acc_eagle={"acc_len": [1, 1]}),
            "field 'acc_eagle.acc_len': 2 of 9 generated tokens",
        ),
        ("eagle", line(acc_eagle={"acc_len": [0] * 9}), "'0' is not a whole number of at least 1"),
        ("eagle", line(acc_eagle={}), "field 'acc_eagle.acc_len': not a list"),
    ],
)
def test_what_is_no_such_line_is_refused(tmp_path, method, record, message):
    with pytest.raises(FormatError) as error:
        SpecDecodeBench(method=method).read(write(tmp_path / "b.jsonl", record))
    assert message in str(error.value)
    assert "line 1" in str(error.value)


def test_positions_replay_at_any_draft_length(tmp_path):
    file = write(tmp_path / "b.jsonl", {"id": 7, "acc_len": LENGTHS, "prompt_len": 4})
    whole = SpecDecodeBench().read(file).trace
    for n in (1, 2, 4, 8):
        trace = SpecDecodeBench(n).read(file).trace
        position, emitted = 0, []
        while position < len(LENGTHS):
            emitted.append(min(LENGTHS[position], n + 1))
            position += emitted[-1]
        assert (trace.accepted + 1).tolist()[:-1] == emitted[:-1]
        assert trace.output_tokens.tolist() == [9]
        assert (
            at_draft_length(whole, n, np.random.default_rng(0)).accepted.tolist()
            == trace.accepted.tolist()
        )
    assert whole.request_id == ["7"]
    with pytest.raises(FormatError, match="draft_tokens"):
        SpecDecodeBench(0)
