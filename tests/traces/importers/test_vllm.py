"""The vLLM importer, on responses of vLLM and on flat records."""

import json

import pytest

from lapsd.traces import FormatError
from lapsd.traces.importers import Vllm


def write(path, *records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def response(name, prompt, completion, accepted, drafted, n=3, **steps):
    """Return a response of `vllm serve --per-request-spec-decode-metrics detailed`.

    Fields that the importer does not use are omitted.
    """
    return {
        "id": name,
        "object": "text_completion",
        "usage": {
            "prompt_tokens": prompt,
            "total_tokens": prompt + completion,
            "completion_tokens": completion,
        },
        "metrics": {
            "time_to_first_token_ms": 12.5,
            "speculative_decoding": {
                "num_spec_steps": len(accepted),
                "num_accepted_draft_tokens": sum(accepted),
                "num_draft_tokens": sum(drafted),
                "num_spec_tokens": n,
                "per_step_accepted": accepted,
                "per_step_drafted": drafted,
                **steps,
            },
        },
    }


def test_the_first_token_of_a_response_counts_as_part_of_the_prompt(tmp_path):
    file = write(
        tmp_path / "a.jsonl",
        response("cmpl-1", 10, 9, [3, 0, 2], [3, 3, 3]),
        response(
            "cmpl-2", 20, 6, [3, 2], [3, 2]
        ),  # the steps emit 1 + 4 + 3 tokens, of which 6 are kept
    )
    imported = Vllm().read(file)
    trace = imported.trace
    assert trace.request_id == ["cmpl-1", "cmpl-2"]
    assert trace.prompt_tokens.tolist() == [11, 21]
    assert trace.output_tokens.tolist() == [8, 5]
    assert trace.accepted.tolist() == [3, 0, 2, 3, 1]
    assert trace.drafted.tolist() == [3, 3, 3, 3, 2]
    assert trace.provenance.estimated == (
        "2 requests: the token from the prefill is counted as part of the prompt",
    )
    assert imported.notes == ()


def test_the_total_of_draft_tokens_is_not_used_as_the_draft_length(tmp_path):
    answered = response("x", 5, 9, [3, 0, 2], [3, 3, 3])
    del answered["metrics"]["speculative_decoding"]["per_step_drafted"]
    assert Vllm().read(write(tmp_path / "a.jsonl", answered)).trace.drafted.tolist() == [3, 3, 3]
    flat = {"per_step_accepted": [3, 0, 2], "num_draft_tokens": 9}
    with pytest.raises(FormatError, match="give draft_tokens"):
        Vllm().read(write(tmp_path / "b.jsonl", flat))
    assert Vllm(draft_tokens=3).read(tmp_path / "b.jsonl").trace.drafted.tolist() == [3, 3, 3]


def test_responses_with_unrecorded_steps_are_left_out_with_a_note(tmp_path):
    file = write(
        tmp_path / "a.jsonl",
        response("one token", 10, 1, [], []),
        response("whole", 10, 5, [3], [3]),
        response("a step without a draft", 10, 6, [3], [3]),
    )
    imported = Vllm().read(file)
    assert imported.trace.request_id == ["whole"]
    assert imported.notes[0].startswith(
        "not in the file: 2 responses, the first in line 1, with tokens from neither"
    )
    with pytest.raises(FormatError, match="holds no requests"):
        Vllm().read(write(tmp_path / "b.jsonl", response("one token", 10, 1, [], [])))


def test_flat_records_are_imported(tmp_path):
    file = write(
        tmp_path / "a.jsonl",
        {
            "request_id": "x",
            "prompt_tokens": 10,
            "per_step_accepted": [3, 0, 2],
            "num_speculative_tokens": 3,
        },
        {
            "request_id": "y",
            "prompt_tokens": 10,
            "per_step_accepted": [3, 3],
            "output_tokens": 9,
            "draft_tokens": 3,
        },
        {
            "request_id": "z",
            "prompt_tokens": 10,
            "per_step_accepted": [3, 3],
            "output_tokens": 6,
            "draft_tokens": 3,
            "metrics": {"time_to_first_token_ms": 3},
        },
    )
    trace = Vllm().read(file).trace
    assert trace.output_tokens.tolist() == [8, 8, 6]
    assert trace.prompt_tokens.tolist() == [
        10,
        11,
        10,
    ]  # the first token of y comes from the prefill
    assert trace.accepted.tolist() == [
        3,
        0,
        2,
        3,
        3,
        3,
        2,
    ]  # the last step of z emits two tokens too many
    assert "1 requests: the token from the prefill" in trace.provenance.estimated[0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"per_step_accepted": []}, "line 1, field 'per_step_accepted': not a list"),
        ({"per_step_accepted": [1.5], "draft_tokens": 3}, "'1.5' is not a whole number"),
        (
            {"per_step_accepted": [-1], "draft_tokens": 3},
            "'-1' is not a whole number of at least 0",
        ),
        ({"per_step_accepted": [1]}, "give draft_tokens"),
        ({"per_step_accepted": [4], "draft_tokens": 3}, "4 accepted of 3 drafted"),
        (
            {"per_step_accepted": [1, 1], "draft_tokens": 3, "output_tokens": 9},
            "9, but the steps emit 4",
        ),
        (
            {"per_step_accepted": [1, 1], "draft_tokens": 3, "output_tokens": 2},
            "2, but the steps emit 4",
        ),
        (
            {"per_step_accepted": [1], "draft_tokens": 3, "prompt_tokens": None},
            "field 'prompt_tokens'",
        ),
        (
            response("x", 1, 5, [3], [3, 3]),
            "field 'per_step_drafted': 2 steps, 1 in 'per_step_accepted'",
        ),
        (response("x", 1, 5, [3], [2]), "3 accepted of 2 drafted"),
        (response("x", 1, 2, [3, 0], [3, 3]), "1, but the steps emit 5"),
        (
            {**response("x", 1, 5, [3], [3]), "usage": {"completion_tokens": "5"}},
            "field 'output_tokens': '5'",
        ),
        ({"metrics": None}, "field 'metrics': missing"),
        (
            {"metrics": {"speculative_decoding": None}},
            "field 'metrics.speculative_decoding': missing",
        ),
        (
            {"metrics": {"speculative_decoding": {"num_spec_steps": 3}}},
            "--per-request-spec-decode-metrics detailed",
        ),
        ({**response("x", 1, 5, [3], [3]), "usage": []}, "field 'usage': not a JSON object"),
    ],
)
def test_the_error_for_an_invalid_record_names_line_and_field(tmp_path, record, message):
    with pytest.raises(FormatError) as error:
        Vllm().read(write(tmp_path / "a.jsonl", record))
    assert message in str(error.value)
    assert "line 1" in str(error.value)
