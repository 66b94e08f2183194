"""The scripts under benchmarks/ run."""

import json
import os
import subprocess
import sys
from pathlib import Path

from traces import load_profile

ROOT = Path(__file__).parents[1]


def test_the_gpu_check_runs_every_section_anywhere(tmp_path):
    """A tiny pair first, as before any other; then OPT's shape in small, through transformers' own forward."""
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 128, "vocab_size": 512,
             "max_position_embeddings": 300, "word_embed_proj_dim": 64, "model_type": "opt"}  # fmt: skip
    config, out = tmp_path / "config.json", tmp_path / "out"
    config.write_text(json.dumps(shape))
    command = [sys.executable, "benchmarks/gpu_check.py", "--out", str(out), "--device", "cpu", "--quick",
               "--shapes", f"{config}+{config}", "--deadline", "150", "--commit", "abc"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
    assert len([p for p in out.rglob("*") if p.is_file()]) <= 8
    lean, other = (json.loads((folder / "check.json").read_text()) for folder in (out / "tiny", out))
    for found in (lean, other):
        assert [name for name, section in found.items() if {"failed", "skipped"} & set(section)] == (
            [] if found is lean else ["attention"]  # only the lean engine's is ours
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
