"""`lapsd calibrate` from end to end on the reference pair, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from calibrate.cli import main
from sim import compare
from traces import load_profile, load_trace

SMALL = ["--requests", "3", "--max-new-tokens", "24", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("calibration")
    assert main([*SMALL, "--greedy", "--out", str(out)]) == 0
    return out


def test_the_trace_holds_what_the_rounds_say(folder):
    trace, rounds = load_trace(folder / "trace.parquet"), pd.read_parquet(folder / "rounds.parquet")
    assert trace.datasets == ["code", "prose", "arithmetic"]
    assert len(trace) == 9
    assert trace.output_tokens.max() <= 24
    assert (trace.drafted == 4).all()
    assert np.array_equal(rounds["accepted"], trace.accepted)
    assert rounds["request_id"].drop_duplicates().tolist() == trace.request_id
    assert (rounds["draft_ns"] + rounds["verify_ns"] <= rounds["total_ns"]).all()


def test_the_profile_is_measured_and_stamped(folder):
    profile = load_profile(folder / "profile.json")
    assert (profile.kind, profile.weights) == ("measured", "reference")
    assert sorted(profile.costs.verify_base_ns) == [1, 2, 5, 9]
    assert profile.costs.draft_step.base_ns < profile.costs.verify_ns(5)
    assert profile.costs.swap_out(512) > 0
    stamp = profile.stamp
    assert stamp["target"] == {"name": "reference", "parameters": 6657696, "type": "llama"}
    assert stamp["greedy_check"]["exact"]
    assert stamp["greedy_check"]["tokens"] > 30
    assert stamp["command"].startswith("lapsd calibrate")
    assert {"draft_step", "verify_5", "prefill", "swap_out", "swap_in", "round"} <= set(profile.fits)
    assert load_trace(folder / "trace.parquet").metadata["command"] == stamp["command"]


def test_what_was_calibrated_can_be_compared(folder):
    result = compare(load_trace(folder / "trace.parquet"), load_profile(folder / "profile.json"), requests=5, seeds=2)
    assert len(result.records) == 5
    assert all(r["ratio_to_bound"] >= 1 for r in result.records)


def test_the_same_seed_accepts_the_same(folder, tmp_path):
    for seed in ("0", "0", "1"):
        assert main([*SMALL, "--seed", seed, "--out", str(tmp_path), "--overwrite", "--prompts", "arithmetic"]) == 0
        trace = load_trace(tmp_path / "trace.parquet")
        (tmp_path / f"{seed}.json").open("a").write(json.dumps(trace.accepted.tolist()) + "\n")
    first, second = (tmp_path / "0.json").read_text().splitlines()
    assert first == second
    assert (tmp_path / "1.json").read_text().splitlines()[0] != first


def test_prompts_of_ones_own_are_decoded(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"prompt": "def add(a, b):"}\n{"prompt": "Question: 1 + 1?\\nAnswer:"}\n')
    arguments = [
        "--prompts",
        str(tmp_path / "mine.jsonl"),
        "--requests",
        "2",
        "--max-new-tokens",
        "8",
        "--device",
        "cpu",
    ]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--draft-tokens", "2", "--temperature", "0.5"]) == 0
    trace = load_trace(tmp_path / "out" / "trace.parquet")
    assert trace.request_id == ["mine-1", "mine-2"]
    assert (trace.drafted == 2).all()


def test_one_token_of_one_request_is_enough(tmp_path):
    arguments = ["--requests", "1", "--max-new-tokens", "1", "--prompts", "code", "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert len(load_trace(tmp_path / "trace.parquet")) == 1
    assert load_profile(tmp_path / "profile.json").costs.verify_ns(5) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests", "0"], "requests 0: must be between 1"),
        (["--draft-tokens", "0"], "draft tokens 0: must be between 1"),
        (["--max-new-tokens", "0"], "max new tokens 0: must be between 1"),
        (["--max-new-tokens", "2000"], "leaves no room for a prompt in a context of 1024"),
        (["--requests", "5000", "--prompts", "prose"], "requests 5000: only"),
        (["--temperature", "-1"], "temperature -1.0"),
        (["--greedy", "--temperature", "1"], "give one of them"),
        (["--seed", "-1"], "--seed -1"),
        (["--device", "abacus"], "device 'abacus'"),
        (["--dtype", "int4"], "dtype 'int4'"),
        (["--target", "./nowhere"], "no such folder"),
        (["--prompts", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--draft-tokens", "many"], "--draft-tokens"),
        (["--drafts", "4"], "No such option"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_that_is_too_long_is_named(tmp_path, capsys):
    (tmp_path / "long.jsonl").write_text(json.dumps({"prompt": "word " * 3_000}))
    assert main(["--prompts", str(tmp_path / "long.jsonl"), "--requests", "1", "--out", str(tmp_path / "out")]) == 2
    assert "prompt long-1: " in capsys.readouterr().err


def test_a_calibration_is_not_overwritten_unasked(folder, capsys):
    assert main([*SMALL, "--out", str(folder)]) == 2
    assert "already: choose another --out or give --overwrite" in capsys.readouterr().err


def test_it_runs_without_the_simulator():
    block = (
        "import sys; sys.modules['simpy'] = None; from calibrate.cli import main; sys.exit(main(['--requests', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
