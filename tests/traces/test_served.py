"""Acceptances that serving engines write."""

import json

import numpy as np
import pytest

from sim.cli import app
from traces import FormatError, at_draft_length, load_trace
from traces.errors import run_command
from traces.served import import_specdecode_bench, import_vllm


def write(path, *records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_vllm_steps_become_rounds(tmp_path):
    file = write(
        tmp_path / "a.jsonl",
        {"request_id": "x", "prompt_tokens": 10, "per_step_accepted": [3, 0, 2], "num_speculative_tokens": 3},
        {"request_id": "y", "prompt_tokens": 10, "per_step_accepted": [3, 3], "output_tokens": 9, "draft_tokens": 3},
        {"request_id": "z", "prompt_tokens": 10, "per_step_accepted": [3, 3], "output_tokens": 6, "draft_tokens": 3},
    )
    trace = import_vllm(file)
    assert trace.output_tokens.tolist() == [8, 8, 6]
    assert trace.prompt_tokens.tolist() == [10, 11, 10]  # y's first token came from prefill
    assert trace.accepted.tolist() == [3, 0, 2, 3, 3, 3, 2]  # z's last step ran past the end by two
    assert "1 requests: the token that prefill emits" in trace.metadata["estimated"][0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"per_step_accepted": []}, "line 1, field 'per_step_accepted': not a list"),
        ({"per_step_accepted": [1.5], "draft_tokens": 3}, "'1.5' is not a whole number"),
        ({"per_step_accepted": [-1], "draft_tokens": 3}, "'-1' is not a whole number of at least 0"),
        ({"per_step_accepted": [1]}, "give --draft-tokens"),
        ({"per_step_accepted": [4], "draft_tokens": 3}, "4 accepted of 3 drafted"),
        ({"per_step_accepted": [1, 1], "draft_tokens": 3, "output_tokens": 9}, "9, but the steps emit 4"),
        ({"per_step_accepted": [1, 1], "draft_tokens": 3, "output_tokens": 2}, "2, but the steps emit 4"),
        ({"per_step_accepted": [1], "draft_tokens": 3, "prompt_tokens": None}, "field 'prompt_tokens'"),
    ],
)
def test_what_is_no_vllm_record_is_refused_by_line_and_field(tmp_path, record, message):
    with pytest.raises(FormatError, match=message):
        import_vllm(write(tmp_path / "a.jsonl", record))


def test_positions_replay_at_any_draft_length(tmp_path):
    lengths = [5, 4, 3, 2, 1, 1, 3, 2, 9]
    file = write(tmp_path / "b.jsonl", {"id": 7, "acc_len": lengths, "prompt_len": 4})
    for n in (1, 2, 4, 8):
        trace = import_specdecode_bench(file, draft_tokens=n)
        position, emitted = 0, []
        while position < len(lengths):
            emitted.append(min(lengths[position], n + 1))
            position += emitted[-1]
        assert (trace.accepted + 1).tolist()[:-1] == emitted[:-1]
        assert trace.output_tokens.tolist() == [9]
        whole = import_specdecode_bench(file)
        assert at_draft_length(whole, n, np.random.default_rng(0)).accepted.tolist() == trace.accepted.tolist()
    assert trace.request_id == ["7"]


def test_both_are_commands(tmp_path, capsys):
    vllm = write(tmp_path / "a.jsonl", {"per_step_accepted": [1, 0], "draft_tokens": 2})
    bench = write(tmp_path / "b.jsonl", {"acc_len": [2, 1, 1]})
    for verb, file in (("vllm", vllm), ("specdecode-bench", bench)):
        out = tmp_path / f"{verb}.parquet"

        def run(verb=verb, file=file, out=out):
            return app(["import", verb, str(file), "-o", str(out)], standalone_mode=False)

        assert run_command("lapsd", run) == 0
        assert "not in the file: prompt_tokens (0)" in capsys.readouterr().out
        assert len(load_trace(out)) == 1
        assert run_command("lapsd", run) == 2
        assert "exists already" in capsys.readouterr().err
    empty = write(tmp_path / "c.jsonl")
    with pytest.raises(FormatError, match="holds no requests"):
        import_vllm(empty)
