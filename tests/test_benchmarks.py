"""Tests that the scripts in benchmarks/ run."""

import importlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lapsd.traces import load_profile

ROOT = Path(__file__).parents[1]


def test_the_gpu_check_runs_every_section_on_a_cpu(tmp_path):
    """The first pair is the tiny one, as always.

    The second has the shape of OPT in small; transformers' own forward pass runs it.
    """
    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 128,
        "vocab_size": 512,
        "max_position_embeddings": 300,
        "word_embed_proj_dim": 64,
        "model_type": "opt",
    }
    config, out = tmp_path / "config.json", tmp_path / "out"
    config.write_text(json.dumps(shape))
    command = [
        sys.executable,
        "benchmarks/gpu_check.py",
        "--out",
        str(out),
        "--device",
        "cpu",
        "--quick",
        "--shapes",
        f"{config}+{config}",
        "--deadline",
        "900",
        "--tiny-seconds",
        "450",
        "--commit",
        "abc",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
    assert len([p for p in out.rglob("*") if p.is_file()]) <= 8
    lean, other = (
        json.loads((folder / "check.json").read_text()) for folder in (out / "tiny", out)
    )
    for found in (lean, other):
        assert [
            name for name, section in found.items() if {"failed", "skipped"} & set(section)
        ] == (
            [] if found is lean else ["attention"]  # only the lean engine has its own attention
        )
        exactness = found["exactness"]
        assert exactness["graphs_equal_eager_1_rows_at_0"]
        assert exactness["graphs_equal_eager_1_rows_at_0.7"]
        assert exactness["greedy_within_tolerance"]
        assert exactness["rollback_equals_fresh"]
        assert found["floors"]["stamp"]["commit"] == "abc"
        assert found["verify"]["128"]["over_memory_floor"] > 0
        assert found["kernels"]["verify at temperature 0"]["kernels_per_replay"] > 10
        assert found["side_by_side"]["assisted_over_ours"] > 0
        assert found["floors_again"]["bytes_per_second"]["copy"] > 0
    assert lean["exactness"]["graphs_equal_eager_3_rows_at_0.7"]
    assert lean["attention"]["128"]["1"] > 0
    profile = load_profile(out / "profile.json")
    assert profile.weights == "random"
    assert profile.round_cost(1)(4, 128) > 0


def test_after_a_failed_capture_a_new_process_runs_without_graphs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    gpu_check = importlib.import_module("gpu_check")
    for codes, expected in (
        ([0, 3, 0], [[], [], ["--no-graphs"]]),  # a capture fails for the requested pair
        ([3, 0], [[], ["--no-graphs"]]),  # a capture fails for the tiny pair
        ([124, 0], [[], ["--no-graphs"]]),  # the tiny pair hangs
        ([1, 0], [[], []]),  # a section of the tiny pair fails
    ):
        calls, left = [], list(codes)

        def run(out, shapes, until, arguments, *flags, calls=calls, left=left):
            out.mkdir(exist_ok=True)
            (out / "check.json").write_text(shapes)
            calls.append(list(flags))
            return left.pop(0)

        monkeypatch.setattr(gpu_check, "run", run)
        monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--out", str(tmp_path)])
        with pytest.raises(SystemExit) as end:
            gpu_check.main()
        assert calls == expected
        assert end.value.code == (3 if codes == [0, 3, 0] else codes[-1])
    assert (tmp_path / "check-with-graphs.json").is_file()


def test_a_failed_capture_is_recorded_and_gives_exit_code_3(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sections = importlib.import_module("gpu_sections")

    class Failing:
        def capture(self, function):
            raise sections.CaptureError("operation not permitted when stream is capturing")

    pair = replace(sections.random_pair("tiny-target+tiny-draft", device="cpu"), graphs=Failing())
    monkeypatch.setattr(sections, "random_pair", lambda *args, **options: pair)
    options = {
        "shapes": "tiny",
        "device": "cpu",
        "dtype": "auto",
        "until": time.monotonic() + 60,
        "out": tmp_path,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    monkeypatch.setattr(sys, "argv", ["gpu_sections.py", *arguments, "--quick"])
    with pytest.raises(SystemExit) as end:
        sections.main()
    assert end.value.code == 3
    found = json.loads((tmp_path / "check.json").read_text())
    assert list(found) == ["floors", "profile"]
    assert "Traceback" in found["floors"]["failed"]
    assert "operation not permitted" in found["floors"]["failed"]
