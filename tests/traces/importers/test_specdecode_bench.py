"""The importer of SpecDecode-Bench: acceptance per output position, by method or flat."""

import numpy as np
import pytest

from lapsd.traces import FormatError, at_draft_length
from lapsd.traces.importers import SpecDecodeBench
from tests.traces.importers.test_vllm import write

LENGTHS = [5, 4, 3, 2, 1, 1, 3, 2, 9]


def line(**changes):
    """Return a line of the public files: token ids, and an object for each drafting method."""
    return {
        "id": 7,
        "prompt_token_ids": [11, 12, 13, 14],
        "generated_token_ids": list(range(9)),
        "acc_eagle": {"acc_len": LENGTHS},
        "acc_ngram": {"acc_len": [1] * 9},
    } | changes


def test_a_method_is_read_with_prompt_lengths_from_the_token_ids(tmp_path):
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


def test_the_output_length_of_a_method_is_the_length_of_its_acc_len(tmp_path):
    """In the public files, the EAGLE run often generated other text than `generated_token_ids`."""
    longer, shorter = [*LENGTHS, 2, 1, 1], LENGTHS[:5]
    file = write(
        tmp_path / "b.jsonl",
        line(acc_eagle={"acc_len": longer}),
        line(id=8, acc_eagle={"acc_len": shorter}),
    )
    trace = SpecDecodeBench(method="eagle").read(file).trace
    assert trace.output_tokens.tolist() == [12, 5]
    assert trace.accepted[trace.rounds_of(0)].tolist() == [4, 0, 2, 1, 0]
    assert trace.accepted[trace.rounds_of(1)].tolist() == [4]
    assert trace.acceptable[9:].tolist() == [1, 0, 0, 4, 3, 2, 1, 0]
    other = SpecDecodeBench(method="ngram").read(file).trace
    assert other.output_tokens.tolist() == [9, 9]


@pytest.mark.parametrize(
    ("method", "record", "message"),
    [
        (None, line(), "give the method, one of eagle, ngram"),
        ("medusa", line(), "no method 'medusa' (in it: eagle, ngram)"),
        ("eagle", {"acc_len": [1]}, "no method 'eagle' (in it: none)"),
        (None, {"id": 1}, "needs 'acc_len' or an object of a drafting method"),
        ("eagle", line(acc_eagle={"acc_len": [0] * 9}), "'0' is not a whole number of at least 1"),
        ("eagle", line(acc_eagle={}), "field 'acc_eagle.acc_len': not a list"),
    ],
)
def test_the_error_for_an_invalid_line_names_it(tmp_path, method, record, message):
    with pytest.raises(FormatError) as error:
        SpecDecodeBench(method=method).read(write(tmp_path / "b.jsonl", record))
    assert message in str(error.value)
    assert "line 1" in str(error.value)


def test_an_imported_trace_replays_at_any_draft_length(tmp_path):
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
